// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

package vendor.buffersync;

/**
 * How the holder of a grant uses a buffer: by the CPU or by a device (DMA), to read or to write.
 *
 * The bits are those of the dmabuf-sync RFC: READ 0x1, WRITE 0x2, DMA 0x4. Readers share a buffer,
 * a writer excludes everybody else. The access also decides the cache maintenance that the service
 * issues before it announces a grant, so it must be what really happens: a CPU write declared as
 * DMA_WRITE leaves dirty cache lines behind.
 */
@VintfStability
@Backing(type="int")
enum Access {
    /** The CPU reads. Shared. */
    READ = 0x1,
    /** The CPU reads or writes. Exclusive. */
    WRITE = 0x2,
    /** A device reads. Shared. */
    DMA_READ = 0x5,
    /** A device reads or writes. Exclusive. */
    DMA_WRITE = 0x6,
}
