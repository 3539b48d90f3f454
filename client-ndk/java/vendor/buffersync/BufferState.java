/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

/** A buffer of a grant, as it was when it was granted. Immutable. */
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
     * The id of the buffer. It is the same in every group and process, for as long as any group has
     * the buffer or the service remembers it.
     *
     * @return the id
     */
    public long id() {
        return id;
    }

    /**
     * The number of exclusive grants of the buffer so far. Two reads of the same generation, neither of
     * them {@link #isEvicted}, saw the same content.
     *
     * @return the number, this grant included
     */
    public long generation() {
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
}
