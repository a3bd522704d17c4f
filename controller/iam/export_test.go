package iam

func init() { passwordRounds = 1000 }
