// The init of "measure": one static file without a C library.  Says how old the kernel is and
// powers off.

static long call(long number, long a, long b, long c, long d)
{
	long result;
	register long r10 __asm__("r10") = d;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return result;
}

enum { WRITE = 1, IOCTL = 16, REBOOT = 169, CLOCK_GETTIME = 228, MONOTONIC = 1, TCSBRK = 0x5409 };

void _start(void);
void _start(void)
{
	long now[2] = { 0, 0 };
	call(CLOCK_GETTIME, MONOTONIC, (long)now, 0, 0);
	unsigned long microseconds = (unsigned long)now[0] * 1000000 + (unsigned long)now[1] / 1000;

	char text[32] = "init ", digits[20];
	int length = 5, count = 0;
	do
		digits[count++] = (char)('0' + microseconds % 10);
	while (microseconds /= 10);
	while (count)
		text[length++] = digits[--count];
	text[length++] = '\n';
	call(WRITE, 1, (long)text, length, 0);
	call(IOCTL, 1, TCSBRK, 1, 0); // until the last byte has left the port
	call(REBOOT, 0xfee1dead, 672274793, 0x4321fedc, 0);
	for (;;)
		;
}
