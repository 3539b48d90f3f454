/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** A buffer of a grant, as it was when it was granted. Immutable. */
public final class BufferState {
    private static final long EVICTED = 1;
    private static final long FENCED = 2;
    private static final long TORN = 8;
    private static final int NUMBERS = 3;

    private final long id;
    private final long generation;
    private final long flags;

    private BufferState(long id, long generation, long flags) {
        this.id = id;
        this.generation = generation;
        this.flags = flags;
    }

    /** The buffers in a part of an array: three numbers each. */
    static List<BufferState> listOf(long[] values, int from, int to) {
        List<BufferState> buffers = new ArrayList<>();
        for (int at = from; at + NUMBERS <= to; at += NUMBERS) {
            buffers.add(new BufferState(values[at], values[at + 1], values[at + 2]));
        }
        return Collections.unmodifiableList(buffers);
    }

    /**
     * The id of the buffer. It is the same in every group and process, for as long as any group has
     * the buffer or the service remembers it.
     *
     * @return the id
     */
    public long getId() {
        return id;
    }

    /**
     * A number that grows by one with each exclusive grant of the buffer. Two grants of the same generation, neither of
     * them {@link #isEvicted}, see the same content.
     *
     * @return the number, this grant included if it is exclusive; 0: never
     */
    public long getGeneration() {
        return generation;
    }

    /**
     * Tells if a former holder was evicted or died, and may still work on the buffer: the content may
     * change during the grant.
     *
     * @return true until a later grant, a reader's too, has ended in order and all its release fences
     *     have signalled
     */
    public boolean isEvicted() {
        return (flags & EVICTED) != 0;
    }

    /**
     * Tells if the content may be half written, because a writer was evicted or died. A reader should
     * not use the content; a writer should overwrite all of it.
     *
     * @return true until a later exclusive grant has ended in order and all its release fences have
     *     signalled
     */
    public boolean isTorn() {
        return (flags & TORN) != 0;
    }

    /**
     * Tells if other devices may still work on the buffer: wait for {@link Grant#acquireFence()}.
     *
     * @return true if so; always false for CPU accesses
     */
    public boolean isFenced() {
        return (flags & FENCED) != 0;
    }

    @Override
    public boolean equals(@Nullable Object other) {
        return other instanceof BufferState
                && ((BufferState) other).id == id
                && ((BufferState) other).generation == generation
                && ((BufferState) other).flags == flags;
    }

    @Override
    public int hashCode() {
        return Objects.hash(id, generation, flags);
    }

    @Override
    public String toString() {
        return "BufferState[buffer "
                + id
                + ", generation "
                + generation
                + (isEvicted() ? ", evicted" : "")
                + (isTorn() ? ", torn" : "")
                + (isFenced() ? ", fenced" : "")
                + "]";
    }
}
