package main

import (
	"strings"
	"unicode/utf8"
)

// lineWidth is how wide a line of text for a person gets, in characters: what every terminal shows.
const lineWidth = 80

// wrap breaks a line between words so that it fits, indents what follows the first line by so many blanks, and ends it. The blanks that the
// line begins with are kept; a word longer than a line is left whole.
func wrap(line string, indent int) string {
	bare := strings.TrimLeft(line, " ")
	var b strings.Builder
	b.WriteString(line[:len(line)-len(bare)])
	column := len(line) - len(bare)
	first := true
	for word := range strings.SplitSeq(strings.TrimRight(bare, " \n"), " ") {
		length := utf8.RuneCountInString(word)
		switch {
		case first:
		case column+1+length > lineWidth:
			b.WriteString("\n" + strings.Repeat(" ", indent))
			column = indent
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += length
		first = false
	}
	b.WriteByte('\n')
	return b.String()
}
