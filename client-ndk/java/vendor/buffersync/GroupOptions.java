/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.time.Duration;
import java.util.Objects;

/** Options of a group. Immutable. */
public final class GroupOptions {
    /** The defaults of the service. */
    public static final GroupOptions DEFAULT = new GroupOptions(Duration.ZERO, false);

    final Duration holdLimit;
    final boolean implicitFences;

    private GroupOptions(Duration holdLimit, boolean implicitFences) {
        this.holdLimit = holdLimit;
        this.implicitFences = implicitFences;
    }

    /**
     * A grant of the group is taken away after this time.
     *
     * @param limit positive; at most {@link Capabilities#maxHold}; rounded up to milliseconds
     * @return these options with that limit
     */
    public GroupOptions withHoldLimit(Duration limit) {
        if (Objects.requireNonNull(limit).isNegative() || limit.isZero()) {
            throw new IllegalArgumentException("a hold limit is positive");
        }
        return new GroupOptions(limit, implicitFences);
    }

    /**
     * For DMA accesses, acquire fences include the implicit fences of the dma-bufs, and release fences
     * are attached to the dma-bufs. Needs {@link Capabilities#implicitFences}.
     *
     * @return these options with implicit fences
     */
    public GroupOptions withImplicitFences() {
        return new GroupOptions(holdLimit, true);
    }
}
