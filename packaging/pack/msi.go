package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"
)

// The summary of an MSI is a property set ([MS-OLEPS] 2.20) under this format id. wixl puts a random package code and the time of
// the run into it.
var summaryFormat = []byte{0xE0, 0x85, 0x9F, 0xF2, 0xF9, 0x4F, 0x68, 0x10, 0xAB, 0x91, 0x08, 0x00, 0x2B, 0x27, 0xB3, 0xD9}

// Properties of the summary, and their types.
const (
	packageCode = 9
	created     = 12
	saved       = 13
	typeString  = 30
	typeTime    = 64
)

// settleMSI gives the MSI at path a package code and the times of the release. Both are replaced in place, by as many bytes.
func settleMSI(path, code string, epoch time.Time) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := settleSummary(text, "{"+code+"}", epoch); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, text, 0o644)
}

func settleSummary(text []byte, code string, epoch time.Time) error {
	at := bytes.Index(text, summaryFormat)
	if at < 28 || len(text) < at+20 {
		return errors.New("no summary in it")
	}
	set := text[at-28:] // the header of the stream, up to the format id
	section := int(binary.LittleEndian.Uint32(set[44:]))
	if section < 48 || len(set) < section+8 {
		return errors.New("the summary is damaged")
	}
	ticks := uint64(epoch.Unix()+11644473600) * 10_000_000 // 100 ns since 1601
	settled := 0
	for i := range int(binary.LittleEndian.Uint32(set[section+4:])) {
		entry := section + 8 + 8*i
		if i > 64 || len(set) < entry+8 {
			return errors.New("the summary is damaged")
		}
		value := section + int(binary.LittleEndian.Uint32(set[entry+4:]))
		if len(set) < value+8+len(code) {
			continue
		}
		id, kind := binary.LittleEndian.Uint32(set[entry:]), binary.LittleEndian.Uint32(set[value:])
		switch {
		case id == packageCode && kind == typeString && set[value+8] == '{':
			copy(set[value+8:], code)
			settled++
		case (id == created || id == saved) && kind == typeTime:
			binary.LittleEndian.PutUint64(set[value+4:], ticks)
			settled++
		}
	}
	if settled != 3 {
		return fmt.Errorf("the summary has %d of package code, created and saved", settled)
	}
	return nil
}
