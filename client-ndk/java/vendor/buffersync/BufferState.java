/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

/** What was true of a buffer when it was granted. Immutable. */
public final class BufferState {
    private static final long EVICTED = 1;
    private static final long FENCED = 2;
    private static final long TORN = 8;

    private final long id;
    private final long generation;
    private final long flags;

    BufferState(long id, long generation, long flags) {
        this.id = id;
        this.generation = generation;
        this.flags = flags;
    }

    /**
     * Which buffer.
     *
     * @return the same in every group and process, for as long as any group has it or the service
     *     remembers it
     */
    public long id() {
        return id;
    }

    /**
     * How many exclusive grants the buffer has seen: two reads of one generation, neither of them
     * {@link #isEvicted}, saw the same content.
     *
     * @return the count, this grant included
     */
    public long generation() {
        return generation;
    }

    /**
     * Whether somebody who held the buffer and was evicted, or died, may still be at work on it: the
     * content may change during the grant.
     *
     * @return true until a grant that began afterwards, a reader's too, has ended in order, with all
     *     its release fences signalled
     */
    public boolean isEvicted() {
        return (flags & EVICTED) != 0;
    }

    /**
     * Whether the content may be half written: a writer was evicted or died. A reader should not use
     * it; a writer should overwrite all of it.
     *
     * @return true until an exclusive grant that began afterwards has ended in order, with all its
     *     release fences signalled
     */
    public boolean isTorn() {
        return (flags & TORN) != 0;
    }

    /**
     * Whether other devices may still be at work: wait for {@link Grant#acquireFence()}.
     *
     * @return true if so; never for CPU accesses
     */
    public boolean isFenced() {
        return (flags & FENCED) != 0;
    }
}
