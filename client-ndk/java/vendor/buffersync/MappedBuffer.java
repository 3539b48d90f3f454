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
        // A view refers to the buffer it was made from: when the buffer is collected, no view is left.
        Cleaners.register(memory, () -> Native.unmap(address, size));
        return new MappedBuffer(group, id, access, memory);
    }

    /**
     * The id of the buffer.
     *
     * @return the id
     */
    public long id() {
        return id;
    }

    /**
     * The size of the buffer.
     *
     * @return the size in bytes
     */
    public int size() {
        return memory.capacity();
    }

    /**
     * The bytes, in the machine's byte order; read-only for {@link Access#READ}. Do not use them after
     * the grant has ended: the next holder has the buffer then, and what you read may be torn. Java
     * can't check this.
     *
     * @param grant a grant of the same group
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
