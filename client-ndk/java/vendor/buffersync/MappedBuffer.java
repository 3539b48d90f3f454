/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** A dma-buf of a group, mapped into this process for the CPU. */
public final class MappedBuffer {
    private final SyncGroup group;
    private final long id;
    private final Access access;
    private final ByteBuffer memory;

    private MappedBuffer(SyncGroup group, long id, Access access, ByteBuffer memory) {
        this.group = group;
        this.id = id;
        this.access = access;
        this.memory = memory;
    }

    static MappedBuffer map(SyncGroup group, long id, int fd, Access access)
            throws BufferSyncException {
        long[] mapping = Native.map(fd, access == Access.WRITE);
        long address = mapping[0];
        long size = mapping[1];
        ByteBuffer memory = null;
        try {
            memory = Native.view(address, size);
        } finally {
            if (memory == null) {
                Native.unmap(address, size);
            }
        }
        // Views keep the buffer that they are of: when it goes, nobody has the memory any more.
        Cleaners.register(memory, () -> Native.unmap(address, size));
        return new MappedBuffer(group, id, access, memory);
    }

    /**
     * Which buffer.
     *
     * @return its id
     */
    public long id() {
        return id;
    }

    /**
     * Its size.
     *
     * @return bytes
     */
    public int size() {
        return memory.capacity();
    }

    /**
     * The bytes, in the machine's byte order; read-only for {@link Access#READ}. Not to be used after
     * the grant has ended: they are somebody else's then, and what is read is torn. Java can't see to
     * that.
     *
     * @param grant of the same group
     * @return a new view, from 0 to the end
     * @throws BufferSyncException {@link ErrorCode#UNKNOWN_BUFFER} if the grant does not have the
     *     buffer; {@link ErrorCode#NOT_LOCKED} if it has ended; {@link ErrorCode#EVICTED} if its
     *     deadline has passed
     */
    public ByteBuffer bytes(Grant grant) throws BufferSyncException {
        synchronized (grant) {
            grant.refuseIfEnded();
        }
        if (grant.group() != group || grant.buffer(id) == null) {
            throw new BufferSyncException(ErrorCode.UNKNOWN_BUFFER, "not of this grant");
        }
        if (grant.timeLeft().isZero()) {
            throw new BufferSyncException(ErrorCode.EVICTED, "the deadline has passed");
        }
        ByteBuffer view = access == Access.READ ? memory.asReadOnlyBuffer() : memory.duplicate();
        return view.order(ByteOrder.nativeOrder());
    }
}
