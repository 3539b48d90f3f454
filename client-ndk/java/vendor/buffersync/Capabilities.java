/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.time.Duration;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/** What the service can do, and its limits. Constant while the service runs. Immutable. */
public final class Capabilities {
    /** The values, in the order of the methods. */
    private final long[] values;

    Capabilities(long[] values) {
        this.values = values;
    }

    /**
     * Tells if grants come with acquire fences and can be ended with release fences.
     *
     * @return true if so
     */
    public boolean isReleaseFenceSupported() {
        return values[0] != 0;
    }

    /**
     * Tells if {@link GroupOptions#withImplicitFences} works.
     *
     * @return true if so
     */
    public boolean isImplicitFenceSupported() {
        return values[1] != 0;
    }

    /**
     * The hold limit of a group that asks for none.
     *
     * @return the limit
     */
    public Duration getDefaultHold() {
        return Duration.ofNanos(values[2]);
    }

    /**
     * The longest hold limit that a group can have.
     *
     * @return the limit
     */
    public Duration getMaxHold() {
        return Duration.ofNanos(values[3]);
    }

    /**
     * The number of groups that one uid may have open.
     *
     * @return the number
     */
    public long getMaxGroupsPerUid() {
        return values[4];
    }

    /**
     * The number of buffers that one group may have.
     *
     * @return the number
     */
    public long getMaxBuffersPerGroup() {
        return values[5];
    }

    /**
     * The number of locks that one group may have at once, waiting or granted.
     *
     * @return the number
     */
    public long getMaxLocksPerGroup() {
        return values[6];
    }

    /**
     * The number of buffers that all groups of one uid may have together.
     *
     * @return the number
     */
    public long getMaxBuffersPerUid() {
        return values[7];
    }

    /**
     * The number of locks of one uid that may wait.
     *
     * @return the number
     */
    public long getMaxQueuedPerUid() {
        return values[8];
    }

    /**
     * The number of release fences of one uid that may be pending.
     *
     * @return the number
     */
    public long getMaxFencesPerUid() {
        return values[9];
    }

    /**
     * The number of release fences of one group that may be pending.
     *
     * @return the number
     */
    public long getMaxFencesPerGroup() {
        return values[10];
    }

    /**
     * The number of descriptors that one handle may have.
     *
     * @return the number
     */
    public long getMaxFdsPerHandle() {
        return values[11];
    }

    @Override
    public boolean equals(@Nullable Object other) {
        return other instanceof Capabilities && Arrays.equals(((Capabilities) other).values, values);
    }

    @Override
    public int hashCode() {
        return Arrays.hashCode(values);
    }

    @Override
    public String toString() {
        return "Capabilities[release fences: "
                + isReleaseFenceSupported()
                + ", implicit fences: "
                + isImplicitFenceSupported()
                + ", hold: "
                + getDefaultHold()
                + " of "
                + getMaxHold()
                + ", limits: "
                + Arrays.toString(Arrays.copyOfRange(values, 4, values.length))
                + "]";
    }
}
