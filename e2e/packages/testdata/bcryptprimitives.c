/* ProcessPrng, which Go since 1.22 needs and wine has since 9 only. */
typedef unsigned char u8;
typedef unsigned long u32;
typedef unsigned long long u64;

__declspec(dllimport) u8 __stdcall SystemFunction036(void *to, u32 length); /* RtlGenRandom */

int __stdcall DllMain(void *module, u32 reason, void *reserved) { return 1; }

__declspec(dllexport) int __stdcall ProcessPrng(u8 *to, u64 length)
{
	while (length) {
		u32 some = length > 0x10000000 ? 0x10000000 : (u32)length;
		if (!SystemFunction036(to, some))
			return 0;
		to += some;
		length -= some;
	}
	return 1;
}
