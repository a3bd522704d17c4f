package track

import (
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// What lies in the array of marks, one byte each: the chunks, page after page; then one for each page of chunks, set by a request that is too
// long to mark each chunk; then the page that counts doubts.
const (
	page       = 1024 // marks of one element; 64 MiB of the device
	sectorBits = 7    // a chunk is 1<<7 sectors of 512 bytes
	pageBits   = 10

	// fine is how many chunks of one range are marked each; longer ones mark pages. Only discards and write-zeroes are.
	fine = 256
	// longest bounds the marks of one event. Only a discard of many ranges can need more; that is a doubt.
	longest = 512
)

// span is the part of a disk that is tracked, in sectors of 512 bytes, and where its marks lie.
type span struct {
	major, minor uint32 // of the whole disk
	start, end   int64
}

func (s span) chunks() int64     { return (s.end - s.start + 1<<sectorBits - 1) >> sectorBits }
func (s span) finePages() int64  { return (s.chunks() + page - 1) / page }
func (s span) roughPages() int64 { return (s.finePages() + page - 1) / page }
func (s span) pages() int64      { return s.finePages() + s.roughPages() + 1 }

// An event is one of the two tracepoints of a kind.
type event struct {
	kind       int
	ends       bool
	tracepoint string
}

// events are those of each kind: where a write begins and where it ends.
var events = [2][2]event{
	ofRequest: {{ofRequest, false, "block_rq_issue"}, {ofRequest, true, "block_rq_complete"}},
	ofBio:     {{ofBio, false, "block_bio_queue"}, {ofBio, true, "block_bio_complete"}},
}

// Where a program keeps its words on the stack.
const (
	keyAt    = -8  // the pointer that names a request in flight
	flightAt = -32 // what is known of it, see flight
	pageAt   = -36 // element of the array
	endedAt  = -48 // how many of its bytes end now
)

// An assembler writes the program of one event. Registers through the program: R6 the request or bio, later the bio whose range is
// next; R7 counts marks; R8 the first sector, later the chunk; R9 the bytes, later the last chunk.
type assembler struct {
	*shape
	span
	event
	marks, flying *ebpf.Map
	since         int64 // by the monotonic clock, in nanoseconds: requests made from then on were seen to begin
	code          asm.Instructions
}

func (a *assembler) add(ins ...asm.Instruction) { a.code = append(a.code, ins...) }

// label names the next instruction.
func (a *assembler) label(name string, first asm.Instruction, rest ...asm.Instruction) {
	a.add(first.WithSymbol(name))
	a.add(rest...)
}

func load(dst, src asm.Register, f field) asm.Instruction {
	return asm.LoadMem(dst, src, f.offset, f.size)
}

// program returns the instructions for one event.
func (a *assembler) program() (*ebpf.ProgramSpec, error) {
	argument, err := a.argument(a.tracepoint, [2]string{"request", "bio"}[a.kind])
	if err != nil {
		return nil, err
	}
	a.add(asm.LoadMem(asm.R6, asm.R1, 8*argument, asm.DWord))
	if a.ends && a.kind == ofRequest { // (request, error, bytes)
		a.add(asm.LoadMem(asm.R1, asm.R1, 8*(argument+2), asm.DWord), asm.StoreMem(asm.RFP, endedAt, asm.R1, asm.DWord))
	}
	a.ours()
	if a.ends {
		a.end()
	} else {
		a.begin()
	}
	a.mark()
	a.doubt()
	a.label("exit", asm.Mov.Imm(asm.R0, 0), asm.Return())
	return &ebpf.ProgramSpec{
		Name: "ferry_" + strings.TrimPrefix(a.tracepoint, "block_"), Type: ebpf.Tracing,
		AttachType: ebpf.AttachTraceRawTp, AttachTo: a.tracepoint, Instructions: a.code,
		// The kernel lets only programs read its structs that may be had under the GPL too. This says so of these instructions alone.
		License: "Dual BSD/GPL",
	}, nil
}

// ours leaves for what writes nothing and for other disks. R1 is then the flags, R7 the operation, R8 the sector, R9 the bytes.
func (a *assembler) ours() {
	a.add(
		load(asm.R1, asm.R6, a.flags[a.kind]),
		asm.Mov.Reg(asm.R7, asm.R1),
		asm.And.Imm(asm.R7, 63), // REQ_OP_MASK has two bits more, which no operation uses
		asm.LoadImm(asm.R2, a.quiet, asm.DWord),
		asm.RSh.Reg(asm.R2, asm.R7),
		asm.And.Imm(asm.R2, 1),
		asm.JNE.Imm(asm.R2, 0, "exit"),
		asm.Mov.Reg(asm.R2, asm.R6),
	)
	for _, pointer := range a.disk[a.kind] {
		a.add(load(asm.R2, asm.R2, pointer))
	}
	a.add(
		load(asm.R3, asm.R2, a.shape.major),
		asm.JNE.Imm(asm.R3, int32(a.span.major), "exit"),
		load(asm.R3, asm.R2, a.shape.minor),
		asm.JNE.Imm(asm.R3, int32(a.span.minor), "exit"),
		load(asm.R8, asm.R6, a.sector[a.kind]),
		load(asm.R9, asm.R6, a.length[a.kind]),
		asm.StoreMem(asm.RFP, keyAt, asm.R6, asm.DWord),
	)
}

// begin notes the request as one in flight. One that is there already was put back in the queue by its driver, or its end was not seen.
func (a *assembler) begin() {
	a.add(
		asm.LoadImm(asm.R2, a.ranged, asm.DWord),
		asm.RSh.Reg(asm.R2, asm.R7),
		asm.And.Imm(asm.R2, 1),
		asm.JEq.Imm(asm.R2, 0, "reach"),
		asm.JNE.Imm(asm.R9, 0, "write"),
		asm.And.Imm(asm.R1, a.preflush), // a pure flush in the dress of a write
		asm.JNE.Imm(asm.R1, 0, "exit"),
		asm.StoreMem(asm.RFP, flightAt, asm.R8, asm.DWord).WithSymbol("write"),
		asm.StoreMem(asm.RFP, flightAt+8, asm.R9, asm.DWord),
		asm.FnKtimeGetNs.Call(),
		asm.StoreMem(asm.RFP, flightAt+16, asm.R0, asm.DWord),
		asm.LoadMapPtr(asm.R1, a.flying.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, keyAt),
		asm.Mov.Reg(asm.R3, asm.RFP), asm.Add.Imm(asm.R3, flightAt),
		asm.Mov.Imm(asm.R4, int32(ebpf.UpdateAny)),
		asm.FnMapUpdateElem.Call(),
		asm.JNE.Imm(asm.R0, 0, "room"),
	)
}

// end takes the request off the list. A bio may have been moved on by its driver, so its range is the one noted when it began. What was
// not noted is the split-off part of another bio; or empty and the end of a flush; or older than the tracker; else its beginning
// was not seen.
func (a *assembler) end() {
	if a.kind == ofBio {
		a.add(
			asm.LoadMapPtr(asm.R1, a.flying.FD()),
			asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, keyAt),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "ended"),
			asm.LoadMem(asm.R8, asm.R0, 0, asm.DWord),
			asm.LoadMem(asm.R9, asm.R0, 8, asm.DWord),
		)
	} else {
		a.add(
			asm.LoadMem(asm.R1, asm.RFP, endedAt, asm.DWord),
			asm.JLT.Reg(asm.R1, asm.R9, "mark"), // a part of it; the rest ends later
		)
	}
	a.label("ended",
		asm.LoadMapPtr(asm.R1, a.flying.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, keyAt),
		asm.FnMapDeleteElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "mark"),
		asm.JEq.Imm(asm.R9, 0, "exit"),
	)
	if a.kind == ofRequest {
		a.add(
			load(asm.R1, asm.R6, a.allocated),
			asm.LoadImm(asm.R2, a.since, asm.DWord),
			asm.JGE.Reg(asm.R1, asm.R2, "unseen"),
		)
	}
}

// mark sets the marks of the range, or of the ranges of a discard: several discards that do not touch may travel in one request.
func (a *assembler) mark() {
	if a.kind == ofRequest {
		a.label("mark",
			asm.JNE.Imm(asm.R7, a.discard, "one"),
			load(asm.R6, asm.R6, a.bio),
			asm.Mov.Imm(asm.R7, 0),
			asm.JNE.Imm(asm.R6, 0, "bio"),
			asm.Mov.Imm(asm.R6, 0).WithSymbol("one"),
			asm.Mov.Imm(asm.R7, 0),
		)
	} else {
		a.label("mark", asm.Mov.Imm(asm.R6, 0), asm.Mov.Imm(asm.R7, 0))
	}
	a.place()
	a.label("chunk",
		asm.Mov.Reg(asm.R1, asm.R8),
		asm.RSh.Imm(asm.R1, pageBits),
		asm.StoreMem(asm.RFP, pageAt, asm.R1, asm.Word),
		asm.LoadMapPtr(asm.R1, a.marks.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, pageAt),
		asm.FnMapLookupElem.Call(), // the compiler in the kernel makes this an address and a comparison
		asm.JEq.Imm(asm.R0, 0, "reach"),
		asm.Mov.Reg(asm.R1, asm.R8),
		asm.And.Imm(asm.R1, page-1),
		asm.Add.Reg(asm.R0, asm.R1),
		asm.StoreImm(asm.R0, 0, 1, asm.Byte),
		asm.Add.Imm(asm.R7, 1),
		asm.JGE.Reg(asm.R8, asm.R9, "next"),
		asm.JGE.Imm(asm.R7, longest, "reach"),
		asm.Add.Imm(asm.R8, 1),
		asm.Ja.Label("chunk"),
	)
	if a.kind == ofRequest {
		a.label("next",
			asm.JEq.Imm(asm.R6, 0, "exit"),
			asm.Add.Imm(asm.R7, 1),
			asm.JGE.Imm(asm.R7, longest, "reach"),
			load(asm.R6, asm.R6, a.next),
			asm.JEq.Imm(asm.R6, 0, "exit"),
			load(asm.R8, asm.R6, a.sector[ofBio]).WithSymbol("bio"),
			load(asm.R9, asm.R6, a.length[ofBio]),
			asm.Ja.Label("place"),
		)
	} else {
		a.label("next", asm.Ja.Label("exit"))
	}
}

// place turns sector and bytes into the first and the last mark, inside the span.
func (a *assembler) place() {
	a.label("place",
		asm.Mov.Reg(asm.R5, asm.R8),
		asm.Xor.Reg(asm.R5, asm.R9), // of no meaning, see below
		asm.Add.Imm(asm.R9, 511),
		asm.RSh.Imm(asm.R9, 9),
		asm.JNE.Imm(asm.R9, 0, "sectors"),
		asm.Mov.Imm(asm.R9, 1), // whatever a request of no bytes does, it does it there
		asm.Add.Reg(asm.R9, asm.R8).WithSymbol("sectors"),
		asm.LoadImm(asm.R1, a.start, asm.DWord),
		asm.LoadImm(asm.R2, a.span.end, asm.DWord),
		asm.JLE.Reg(asm.R9, asm.R1, "next"),
		asm.JGE.Reg(asm.R8, asm.R2, "next"),
		asm.JGE.Reg(asm.R8, asm.R1, "above"),
		asm.Mov.Reg(asm.R8, asm.R1),
		asm.JLE.Reg(asm.R9, asm.R2, "below").WithSymbol("above"),
		asm.Mov.Reg(asm.R9, asm.R2),
		asm.Sub.Reg(asm.R8, asm.R1).WithSymbol("below"),
		asm.Sub.Reg(asm.R9, asm.R1),
		asm.Sub.Imm(asm.R9, 1),
		asm.RSh.Imm(asm.R8, sectorBits),
		asm.RSh.Imm(asm.R9, sectorBits),
		asm.Mov.Reg(asm.R1, asm.R9),
		asm.Sub.Reg(asm.R1, asm.R8),
		asm.JLT.Imm(asm.R1, fine, "placed"),
		asm.RSh.Imm(asm.R8, pageBits),
		asm.RSh.Imm(asm.R9, pageBits),
		asm.LoadImm(asm.R1, a.finePages()*page, asm.DWord),
		asm.Add.Reg(asm.R8, asm.R1),
		asm.Add.Reg(asm.R9, asm.R1),
	)
	// The verifier forgets the bounds of what is combined with something it does not know. If it knew them it would go through the
	// loop anew for each, and give up.
	a.label("placed",
		asm.Xor.Reg(asm.R8, asm.R5), asm.Xor.Reg(asm.R8, asm.R5),
		asm.Xor.Reg(asm.R9, asm.R5), asm.Xor.Reg(asm.R9, asm.R5),
	)
}

// Doubts that are counted in the last page, one word each.
const (
	reachUnknown = iota // of the operation, or a discard of too many ranges
	noRoom              // on the list of those in flight
	beginUnseen
	doubtKinds
)

var doubtLabels = [doubtKinds]string{"reach", "room", "unseen"}

// doubt counts one.
func (a *assembler) doubt() {
	for kind, label := range doubtLabels {
		if !slices.ContainsFunc(a.code, func(i asm.Instruction) bool { return i.Reference() == label }) {
			continue // this program has no such doubt, and the verifier allows nothing that is never reached
		}
		a.label(label, asm.Mov.Imm(asm.R7, int32(8*kind)), asm.Ja.Label("doubt"))
	}
	a.label("doubt",
		asm.StoreImm(asm.RFP, pageAt, a.pages()-1, asm.Word),
		asm.LoadMapPtr(asm.R1, a.marks.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, pageAt),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "exit"),
		asm.Add.Reg(asm.R0, asm.R7),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
	)
}
