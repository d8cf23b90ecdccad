/* The memory of a ring: header, data, and the data once more, so that no record is ever split. */
#define _GNU_SOURCE
#include "crc32.h"
#include "ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#if !defined(__linux__) || defined(CRA_RING_PORTABLE)
#include <stdio.h>

static int open_anonymous(void) {
    static _Atomic uint32_t count;
    char name[32];
    snprintf(name, sizeof name, "/cra-%x-%x", (unsigned)getpid(), (unsigned)atomic_fetch_add(&count, 1));
    int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd >= 0)
        shm_unlink(name);
    return fd;
}
#else
static int open_anonymous(void) {
    return memfd_create("cra-ring", MFD_CLOEXEC);
}
#endif

/* Blocks on disk before the first store: a store into a hole of a full disk kills the process. */
static int write_zeros(int fd, off_t offset, uint64_t length) {
    static const uint8_t zeros[65536];
    while (length > 0) {
        ssize_t written = pwrite(fd, zeros, length < sizeof zeros ? length : sizeof zeros, offset);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return -1;
        offset += written;
        length -= (uint64_t)written;
    }
    return 0;
}

static uint8_t *map_twice(int fd, uint64_t size) {
    size_t whole = CRA_RING_DATA_OFFSET + 2 * size;
    uint8_t *memory = mmap(NULL, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    const int access = PROT_READ | PROT_WRITE, how = MAP_SHARED | MAP_FIXED;
    if (mmap(memory, CRA_RING_DATA_OFFSET + size, access, how, fd, 0) == MAP_FAILED ||
        mmap(memory + CRA_RING_DATA_OFFSET + size, size, access, how, fd, CRA_RING_DATA_OFFSET) == MAP_FAILED) {
        int error = errno;
        munmap(memory, whole);
        errno = error;
        return NULL;
    }
    return memory;
}

static uint8_t *map_file(uint64_t size, int fd, uint64_t page) {
    struct stat status;
    if (fstat(fd, &status) < 0)
        return NULL;
    if (status.st_size != 0) {
        errno = EEXIST;
        return NULL;
    }
    if (ftruncate(fd, (off_t)(CRA_RING_DATA_OFFSET + size)) < 0 || write_zeros(fd, 0, page) < 0 ||
        write_zeros(fd, CRA_RING_DATA_OFFSET, size) < 0)
        return NULL;
    return map_twice(fd, size);
}

static uint8_t *map_anonymous(uint64_t size, uint64_t page) {
    int fd = open_anonymous();
    if (fd < 0)
        return NULL;
    uint8_t *memory = map_file(size, fd, page);
    int error = errno;
    close(fd);
    errno = error;
    return memory;
}

static void write_identity(cra_ring *ring) {
    uint8_t identity[CRA_RING_IDENTITY] = CRA_RING_MAGIC;
    const uint32_t version = CRA_RING_VERSION;
    const uint64_t pid = (uint64_t)getpid();
    memcpy(identity + 8, &version, 4);
    memcpy(identity + 16, &ring->size, 8);
    memcpy(identity + 24, &ring->secret, 8);
    memcpy(identity + 32, &pid, 8);
    const uint32_t checksum = cra_crc32(0, identity, 40);
    memcpy(identity + 40, &checksum, 4);
    memcpy(ring->header, identity, sizeof identity);
}

int cra_ring_map(cra_ring *ring, int fd) {
    const uint64_t size = ring->size, page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (size < CRA_RING_MIN_SIZE || size < page || size > CRA_RING_MAX_SIZE || (size & (size - 1))) {
        errno = EINVAL;
        return -1;
    }
    ring->header = fd < 0 ? map_anonymous(size, page) : map_file(size, fd, page);
    if (ring->header == NULL)
        return -1;
    ring->mapped = CRA_RING_DATA_OFFSET + 2 * size;
    ring->data = ring->header + CRA_RING_DATA_OFFSET;
    ring->head = (_Atomic uint64_t *)(void *)(ring->header + CRA_RING_HEAD_OFFSET);
    ring->tail = (_Atomic uint64_t *)(void *)(ring->header + CRA_RING_TAIL_OFFSET);
    ring->seal = ring->tail + 1;
    for (size_t offset = 0; offset < ring->mapped; offset += page)
        *(volatile uint8_t *)(ring->header + offset) = 0;
    atomic_store_explicit(ring->seal, cra_ring_mix(0, ring->secret), memory_order_release);
    write_identity(ring);
    return 0;
}

void cra_ring_unmap(cra_ring *ring) {
    munmap(ring->header, ring->mapped);
}
