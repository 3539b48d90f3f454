/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/**
 * A buffer of a group, mapped into this process for the CPU.
 *
 * <p>The bytes may be used while the grant lasts that they were asked with. Afterwards the next holder
 * has the buffer, and what you read may be torn. Java can't check this.
 */
public final class MappedBuffer {
    private static final int NUMBERS = 3;

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

    /** Takes over mappings: id, address and size of each. */
    static List<MappedBuffer> listOf(SyncGroup group, long[] values, Access access)
            throws BufferSyncException {
        List<MappedBuffer> mapped = new ArrayList<>();
        int at = 0;
        try {
            for (; at + NUMBERS <= values.length; at += NUMBERS) {
                long address = values[at + 1];
                long size = values[at + 2];
                ByteBuffer memory = Native.view(address, size);
                // A view refers to the buffer it was made from: when the buffer is collected, no view is
                // left.
                Cleaners.register(memory, () -> Native.unmap(address, size));
                mapped.add(new MappedBuffer(group, values[at], access, memory));
            }
        } finally {
            // After a failure, these have no cleaner.
            for (; at + NUMBERS <= values.length; at += NUMBERS) {
                Native.unmap(values[at + 1], values[at + 2]);
            }
        }
        return Collections.unmodifiableList(mapped);
    }

    /**
     * The id of the buffer.
     *
     * @return the id
     */
    public long getId() {
        return id;
    }

    /**
     * The size of the buffer.
     *
     * @return the size in bytes
     */
    public int getSize() {
        return memory.capacity();
    }

    /**
     * The bytes, in the machine's byte order, for reading.
     *
     * @param grant a grant of the same group that has the buffer for the CPU
     * @return a new view, from 0 to the end, that can't be written
     * @throws BufferSyncException {@link ErrorCode#UNKNOWN_BUFFER} if the grant does not have the buffer
     *     with this access; {@link ErrorCode#ENDED} if it has ended; {@link ErrorCode#EVICTED} if its
     *     deadline has passed
     */
    public ByteBuffer bytes(Grant grant) throws BufferSyncException {
        check(grant, Access.READ);
        return memory.asReadOnlyBuffer().order(ByteOrder.nativeOrder());
    }

    /**
     * The bytes, in the machine's byte order, for reading and writing.
     *
     * @param grant a grant of the same group that has the buffer with {@link Access#WRITE}
     * @return a new view, from 0 to the end
     * @throws BufferSyncException {@link ErrorCode#ACCESS_CONFLICT} if the buffer was mapped for {@link
     *     Access#READ}, and the errors of {@link #bytes}
     */
    public ByteBuffer writableBytes(Grant grant) throws BufferSyncException {
        if (access != Access.WRITE) {
            String why = "buffer " + id + " is mapped for " + access + ": map it for WRITE";
            throw new BufferSyncException(ErrorCode.ACCESS_CONFLICT, why);
        }
        check(grant, Access.WRITE);
        return memory.duplicate().order(ByteOrder.nativeOrder());
    }

    private void check(Grant grant, Access wanted) throws BufferSyncException {
        if (grant.group() != group) {
            String why = "the grant is of another group than buffer " + id + " is mapped in";
            throw new BufferSyncException(ErrorCode.UNKNOWN_BUFFER, why);
        }
        group.run(handle -> Native.checkHeld(handle, grant.getLock(), id, wanted.number));
    }

    @Override
    public String toString() {
        return "MappedBuffer[buffer " + id + ", " + getSize() + " bytes, " + access + "]";
    }
}
