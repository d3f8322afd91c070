/* The door for libFuzzer; TARGET is check_afs, check_tar or check_succeed.  See README.md. */
#include "checks.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t largest);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t largest, unsigned seed);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t largest, unsigned seed)
{
    size = LLVMFuzzerMutate(data, size, largest);
    if (seed % 8 != 0)
        fit_checksums(data, size, seed / 8);
    return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    (void)check_afs, (void)check_tar, (void)check_succeed;
    TARGET(data, size);
    return 0;
}
