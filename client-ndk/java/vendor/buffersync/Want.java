/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** A buffer that a lock asks for, and the access. Immutable. */
public final class Want {
    private final long buffer;
    private final Access access;

    /**
     * Makes a want.
     *
     * @param buffer the id of a buffer of the group
     * @param access how the holder of the lock uses it
     */
    public Want(long buffer, Access access) {
        this.buffer = buffer;
        this.access = Objects.requireNonNull(access);
    }

    /**
     * The id of the buffer.
     *
     * @return the id
     */
    public long getBuffer() {
        return buffer;
    }

    /**
     * How the holder of the lock uses the buffer.
     *
     * @return the access
     */
    public Access getAccess() {
        return access;
    }

    /** The ids of some wants. The native methods take none for all buffers, so nobody may ask for none. */
    static long[] buffers(List<Want> wants) {
        if (wants.isEmpty()) {
            throw new IllegalArgumentException("a lock of no buffer");
        }
        return wants.stream().mapToLong(Want::getBuffer).toArray();
    }

    /** In the order of {@link #buffers}. */
    static int[] accesses(List<Want> wants) {
        return wants.stream().mapToInt(want -> want.access.number).toArray();
    }

    @Override
    public boolean equals(@Nullable Object other) {
        return other instanceof Want
                && ((Want) other).buffer == buffer
                && ((Want) other).access == access;
    }

    @Override
    public int hashCode() {
        return Objects.hash(buffer, access);
    }

    @Override
    public String toString() {
        return "Want[" + access + " of buffer " + buffer + "]";
    }
}
