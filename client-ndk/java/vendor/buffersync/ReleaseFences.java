/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The fences that a grant ends with: some for single buffers, and one for the rest. The work on a
 * buffer ends when its fence has signalled; without a fence it is finished. Immutable.
 *
 * <p>A device that is next gets the buffers at once and waits for the fence itself; the CPU gets them
 * when the fence has signalled. A fence that fails, or does not signal within the group's hold limit,
 * counts as an eviction ({@link Event.Type#FENCE_EVICTED}).
 *
 * <p>The call that gets these fences closes them in any case, so they can be used once.
 */
public final class ReleaseFences {
    /** All work is finished. */
    public static final ReleaseFences NONE = new ReleaseFences(Collections.emptyMap());

    /** The number of the rest: no buffer has it. */
    private static final long REST = 0;

    private final Map<Long, Fence> fences;

    private ReleaseFences(Map<Long, Fence> fences) {
        this.fences = fences;
    }

    /**
     * One fence for all buffers.
     *
     * @param fence the fence
     * @return the fences
     */
    public static ReleaseFences of(Fence fence) {
        return NONE.with(REST, fence);
    }

    /**
     * Adds a fence for one buffer. It counts instead of the fence of {@link #of}.
     *
     * @param buffer the id of the buffer
     * @param fence the fence
     * @return these fences and that one
     */
    public ReleaseFences and(long buffer, Fence fence) {
        if (buffer == REST) {
            throw new IllegalArgumentException("no buffer has the id " + buffer);
        }
        return with(buffer, fence);
    }

    private ReleaseFences with(long buffer, Fence fence) {
        Map<Long, Fence> all = new LinkedHashMap<>(fences);
        if (all.put(buffer, java.util.Objects.requireNonNull(fence)) != null) {
            throw new IllegalArgumentException("two fences of buffer " + buffer);
        }
        return new ReleaseFences(all);
    }

    /** The buffers, in the order of {@link #take}. */
    long[] buffers() {
        return fences.keySet().stream().mapToLong(Long::longValue).toArray();
    }

    /** Takes the descriptors, all or none: if a fence is closed already, the others are closed too. */
    int[] take() {
        int[] fds = new int[fences.size()];
        int at = 0;
        try {
            for (Fence fence : fences.values()) {
                fds[at] = fence.detachRawFd();
                at++;
            }
        } catch (IllegalStateException closed) {
            fences.values().forEach(Fence::close);
            while (at > 0) {
                at--;
                Fence.adoptRawFd(fds[at]).close();
            }
            throw closed;
        }
        return fds;
    }

    @Override
    public boolean equals(@Nullable Object other) {
        return other instanceof ReleaseFences && ((ReleaseFences) other).fences.equals(fences);
    }

    @Override
    public int hashCode() {
        return fences.hashCode();
    }

    @Override
    public String toString() {
        return "ReleaseFences" + fences;
    }
}
