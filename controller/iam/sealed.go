package iam

// Seal encrypts a text that only control planes of this database can read again, under the same name.
func (s *Service) Seal(name string, text []byte) []byte { return s.sealer.Seal(name, text) }

// Open decrypts what Seal made under name. Errors: FERRY-SEALING-KEY.
func (s *Service) Open(name string, sealed []byte) ([]byte, error) {
	return s.sealer.Open(name, sealed)
}
