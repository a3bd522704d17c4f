package resp

import "strconv"

// AppendArray begins a command of n arguments.
func AppendArray(dst []byte, n int) []byte {
	dst = append(dst, byte(Array))
	dst = strconv.AppendInt(dst, int64(n), 10)
	return append(dst, '\r', '\n')
}

// AppendLen begins an argument of n bytes, which the caller appends together with the line end that follows them.
func AppendLen(dst []byte, n int) []byte {
	dst = append(dst, byte(Bulk))
	dst = strconv.AppendInt(dst, int64(n), 10)
	return append(dst, '\r', '\n')
}

// AppendArg appends one argument.
func AppendArg[T string | []byte](dst []byte, arg T) []byte {
	dst = AppendLen(dst, len(arg))
	dst = append(dst, arg...)
	return append(dst, '\r', '\n')
}

// AppendInt appends one argument that is a decimal.
func AppendInt(dst []byte, n int64) []byte {
	var digits [20]byte
	return AppendArg(dst, strconv.AppendInt(digits[:0], n, 10))
}

// AppendCommand appends a whole command.
func AppendCommand[T string | []byte](dst []byte, args ...T) []byte {
	dst = AppendArray(dst, len(args))
	for _, a := range args {
		dst = AppendArg(dst, a)
	}
	return dst
}
