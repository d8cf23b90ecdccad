/* CRC-32 with zlib's polynomial (0xEDB88320, reflected): what frames of the ring and entries of a definitions file carry. */
#ifndef CRA_CRC32_H
#define CRA_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* The CRC of what `crc` is of (0: nothing) followed by `length` bytes; zlib.crc32(data, crc). */
uint32_t cra_crc32(uint32_t crc, const void *data, size_t length);

/* The same without carry-less multiplication, for the tests. */
uint32_t cra_crc32_portable(uint32_t crc, const void *data, size_t length);

#endif
