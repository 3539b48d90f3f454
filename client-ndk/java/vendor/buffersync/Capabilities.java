/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.time.Duration;

/** What the service can do, and its limits. Constant while the service runs. */
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
    public boolean releaseFences() {
        return values[0] != 0;
    }

    /**
     * Tells if {@link GroupOptions#withImplicitFences} works.
     *
     * @return true if so
     */
    public boolean implicitFences() {
        return values[1] != 0;
    }

    /**
     * The hold limit of a group that asks for none.
     *
     * @return the limit
     */
    public Duration defaultHold() {
        return Duration.ofNanos(values[2]);
    }

    /**
     * The longest hold limit that a group can have.
     *
     * @return the limit
     */
    public Duration maxHold() {
        return Duration.ofNanos(values[3]);
    }

    /**
     * The number of groups that one uid may have open.
     *
     * @return the number
     */
    public long maxGroupsPerUid() {
        return values[4];
    }

    /**
     * The number of buffers that one group may have.
     *
     * @return the number
     */
    public long maxBuffersPerGroup() {
        return values[5];
    }

    /**
     * The number of buffers that all groups of one uid may have together.
     *
     * @return the number
     */
    public long maxBuffersPerUid() {
        return values[6];
    }

    /**
     * The number of locks of one uid that may wait.
     *
     * @return the number
     */
    public long maxQueuedPerUid() {
        return values[7];
    }

    /**
     * The number of release fences of one uid that may be pending.
     *
     * @return the number
     */
    public long maxFencesPerUid() {
        return values[8];
    }

    /**
     * The number of release fences of one group that may be pending.
     *
     * @return the number
     */
    public long maxFencesPerGroup() {
        return values[9];
    }

    /**
     * The number of descriptors that one handle may have.
     *
     * @return the number
     */
    public long maxFdsPerHandle() {
        return values[10];
    }

    /**
     * The number of locks that one group may have at once, waiting or granted.
     *
     * @return the number
     */
    public long maxLocksPerGroup() {
        return values[11];
    }
}
