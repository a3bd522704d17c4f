package track

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// A shape says where this kernel keeps what the programs read: offsets, operations and the order of a tracepoint's arguments
// change between versions, BTF tells them for the kernel that runs.
type shape struct {
	spec *btf.Spec

	// Fields of struct request and struct bio, in that order.
	flags, sector, length [2]field
	disk                  [2][]field // from there to struct gendisk, pointer by pointer

	allocated     field // request.start_time_ns, by the monotonic clock; 0 while the device keeps no statistics
	bio, next     field // request.bio, bio.bi_next
	major, minor  field // of struct gendisk
	quiet, ranged int64 // bit masks by operation: changes nothing; changes exactly its range
	discard       int32
	preflush      int32 // flag
}

// A field of a struct.
type field struct {
	offset int16
	size   asm.Size
}

// The two kinds of devices: those with a request queue, and those that take each bio by itself.
const (
	ofRequest = iota
	ofBio
)

// What the operations of a kernel are called, see include/linux/blk_types.h; not every kernel has each. Of the others (zone
// operations, SCSI_OUT, DRV_OUT) nobody can say which bytes they change.
var (
	quietOps  = []string{"READ", "FLUSH", "SCSI_IN", "DRV_IN", "ZONE_OPEN", "ZONE_CLOSE", "ZONE_FINISH", "ZONE_REPORT"}
	rangedOps = []string{"WRITE", "DISCARD", "SECURE_ERASE", "WRITE_SAME", "WRITE_ZEROES"}
)

// readShape asks the kernel's BTF.
func readShape() (*shape, error) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, fmt.Errorf("kernel type information (BTF): %w", err)
	}
	s := &shape{spec: spec}
	r := reader{spec: spec}
	s.flags = [2]field{r.field("request", "cmd_flags"), r.field("bio", "bi_opf")}
	s.sector = [2]field{r.field("request", "__sector"), r.field("bio", "bi_iter.bi_sector")}
	s.length = [2]field{r.field("request", "__data_len"), r.field("bio", "bi_iter.bi_size")}
	s.allocated = r.field("request", "start_time_ns")
	s.bio, s.next = r.field("request", "bio"), r.field("bio", "bi_next")
	s.major, s.minor = r.field("gendisk", "major"), r.field("gendisk", "first_minor")
	// Linux 5.17 dropped request.rq_disk, 5.12 replaced bio.bi_disk.
	if r.has("request", "rq_disk") {
		s.disk[ofRequest] = []field{r.field("request", "rq_disk")}
	} else {
		s.disk[ofRequest] = []field{r.field("request", "q"), r.field("request_queue", "disk")}
	}
	if r.has("bio", "bi_disk") {
		s.disk[ofBio] = []field{r.field("bio", "bi_disk")}
	} else {
		s.disk[ofBio] = []field{r.field("bio", "bi_bdev"), r.field("block_device", "bd_disk")}
	}
	ops := r.operations()
	for _, name := range quietOps {
		if v, ok := ops[name]; ok {
			s.quiet |= 1 << v
		}
	}
	for _, name := range rangedOps {
		if v, ok := ops[name]; ok {
			s.ranged |= 1 << v
		}
	}
	s.discard = int32(ops["DISCARD"])
	s.preflush = 1 << r.constant("req_flag_bits", "__REQ_PREFLUSH")
	return s, r.err
}

// argument returns which argument of a tracepoint, counted from 0, points to the struct of that name.
func (s *shape) argument(tracepoint, of string) (int16, error) {
	var def *btf.Typedef
	if err := s.spec.TypeByName("btf_trace_"+tracepoint, &def); err != nil {
		return 0, fmt.Errorf("tracepoint %s: %w", tracepoint, err)
	}
	if p, ok := btf.As[*btf.Pointer](def); ok {
		if proto, ok := p.Target.(*btf.FuncProto); ok {
			for i, param := range proto.Params[min(1, len(proto.Params)):] { // the first is the tracepoint's own
				if to, ok := btf.As[*btf.Pointer](param.Type); ok && to.Target.TypeName() == of {
					return int16(i), nil
				}
			}
		}
	}
	return 0, fmt.Errorf("tracepoint %s has no argument of type %s", tracepoint, of)
}

// A reader reads BTF and remembers the first thing that is not as it should be.
type reader struct {
	spec *btf.Spec
	err  error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("this kernel is not known: "+format, args...)
	}
}

func (r *reader) has(name, member string) bool {
	var st *btf.Struct
	if err := r.spec.TypeByName(name, &st); err != nil {
		return false
	}
	_, ok := find(st, member)
	return ok
}

// field returns a field by its path, "bi_iter.bi_sector" for example.
func (r *reader) field(name, path string) (f field) {
	var st *btf.Struct
	if err := r.spec.TypeByName(name, &st); err != nil {
		r.fail("struct %s: %w", name, err)
		return f
	}
	var offset uint32
	for part := range strings.SplitSeq(path, ".") {
		m, ok := find(st, part)
		if !ok || m.BitfieldSize != 0 {
			r.fail("struct %s has no field %s", name, path)
			return f
		}
		offset += m.Offset.Bytes()
		if inner, ok := btf.As[*btf.Struct](m.Type); ok {
			st = inner
			continue
		}
		bytes, err := btf.Sizeof(m.Type)
		size, ok := map[int]asm.Size{4: asm.Word, 8: asm.DWord}[bytes]
		if err != nil || offset > 1<<12 || !ok {
			r.fail("struct %s, field %s: %d bytes at %d", name, path, bytes, offset)
			return f
		}
		return field{offset: int16(offset), size: size}
	}
	r.fail("struct %s, field %s is a struct", name, path)
	return f
}

func find(st *btf.Struct, member string) (btf.Member, bool) {
	for _, m := range st.Members {
		if m.Name == member {
			return m, true
		}
	}
	return btf.Member{}, false
}

// operations returns the block operations of this kernel without their prefix. Linux 5.19 renamed the enum.
func (r *reader) operations() map[string]uint64 {
	ops := make(map[string]uint64)
	var e *btf.Enum
	if r.spec.TypeByName("req_op", &e) != nil && r.spec.TypeByName("req_opf", &e) != nil {
		r.fail("no block operations")
		return ops
	}
	for _, v := range e.Values {
		if v.Value > 63 {
			r.fail("operation %s is %d", v.Name, v.Value)
		}
		ops[strings.TrimPrefix(v.Name, "REQ_OP_")] = v.Value
	}
	for _, name := range []string{"READ", "WRITE", "FLUSH", "DISCARD", "WRITE_ZEROES"} {
		if _, ok := ops[name]; !ok {
			r.fail("no operation %s", name)
		}
	}
	return ops
}

func (r *reader) constant(enum, name string) uint64 {
	var e *btf.Enum
	if err := r.spec.TypeByName(enum, &e); err != nil {
		r.fail("%s: %w", enum, err)
		return 0
	}
	for _, v := range e.Values {
		if v.Name == name && v.Value < 31 {
			return v.Value
		}
	}
	r.fail("no %s", name)
	return 0
}
