/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.time.Duration;

/** What the service can do and where its bounds are. Constant while the service runs. */
public final class Capabilities {
    /** In the order of the methods. */
    private final long[] values;

    Capabilities(long[] values) {
        this.values = values;
    }

    /**
     * Whether grants come with acquire fences and can be ended with release fences.
     *
     * @return whether it is so
     */
    public boolean releaseFences() {
        return values[0] != 0;
    }

    /**
     * Whether {@link GroupOptions#withImplicitFences} works.
     *
     * @return whether it is so
     */
    public boolean implicitFences() {
        return values[1] != 0;
    }

    /**
     * How long a grant lasts at most, of a group that asked for nothing.
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
     * Groups that one uid may have open.
     *
     * @return how many
     */
    public long maxGroupsPerUid() {
        return values[4];
    }

    /**
     * Buffers that one group may have.
     *
     * @return how many
     */
    public long maxBuffersPerGroup() {
        return values[5];
    }

    /**
     * Buffers that the groups of one uid may have in all.
     *
     * @return how many
     */
    public long maxBuffersPerUid() {
        return values[6];
    }

    /**
     * Locks of one uid that may wait.
     *
     * @return how many
     */
    public long maxQueuedPerUid() {
        return values[7];
    }

    /**
     * Release fences of one uid that may be pending.
     *
     * @return how many
     */
    public long maxFencesPerUid() {
        return values[8];
    }

    /**
     * Release fences of one group that may be pending.
     *
     * @return how many
     */
    public long maxFencesPerGroup() {
        return values[9];
    }

    /**
     * Descriptors that one handle may have.
     *
     * @return how many
     */
    public long maxFdsPerHandle() {
        return values[10];
    }
}
