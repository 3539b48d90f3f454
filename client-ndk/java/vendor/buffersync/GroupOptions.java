/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.time.Duration;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** Options of a group. Immutable. */
public final class GroupOptions {
    /** The defaults of the service. */
    public static final GroupOptions DEFAULT = new GroupOptions(null, HoldFrom.GRANT, false);

    private final @Nullable Duration holdLimit;
    private final HoldFrom holdFrom;
    private final boolean implicitFences;

    private GroupOptions(@Nullable Duration holdLimit, HoldFrom holdFrom, boolean implicitFences) {
        this.holdLimit = holdLimit;
        this.holdFrom = holdFrom;
        this.implicitFences = implicitFences;
    }

    /**
     * A grant of the group is taken away after this time.
     *
     * @param limit positive; rounded up to milliseconds. One above {@link Capabilities#getMaxHold} is
     *     shortened to that: {@link SyncGroup#getHoldLimit} has the result
     * @return these options with that limit
     */
    public GroupOptions withHoldLimit(Duration limit) {
        if (limit.isNegative() || limit.isZero()) {
            throw new IllegalArgumentException("a hold limit is positive, this is " + limit);
        }
        return new GroupOptions(limit, holdFrom, implicitFences);
    }

    /**
     * The moment from which the hold limit counts.
     *
     * @param from the moment
     * @return these options with that moment
     */
    public GroupOptions withHoldFrom(HoldFrom from) {
        return new GroupOptions(holdLimit, Objects.requireNonNull(from), implicitFences);
    }

    /**
     * For DMA accesses, acquire fences include the implicit fences of the dma-bufs, and release fences
     * are attached to the dma-bufs. Needs {@link Capabilities#isImplicitFenceSupported}.
     *
     * @return these options with implicit fences
     */
    public GroupOptions withImplicitFences() {
        return new GroupOptions(holdLimit, holdFrom, true);
    }

    /**
     * A grant of the group is taken away after this time.
     *
     * @return the limit; null for the service's default
     */
    public @Nullable Duration getHoldLimit() {
        return holdLimit;
    }

    /**
     * The moment from which the hold limit counts.
     *
     * @return the moment
     */
    public HoldFrom getHoldFrom() {
        return holdFrom;
    }

    /**
     * Tells if the group uses implicit fences.
     *
     * @return true if so
     */
    public boolean isImplicitFences() {
        return implicitFences;
    }

    @Override
    public boolean equals(@Nullable Object other) {
        return other instanceof GroupOptions
                && Objects.equals(((GroupOptions) other).holdLimit, holdLimit)
                && ((GroupOptions) other).holdFrom == holdFrom
                && ((GroupOptions) other).implicitFences == implicitFences;
    }

    @Override
    public int hashCode() {
        return Objects.hash(holdLimit, holdFrom, implicitFences);
    }

    @Override
    public String toString() {
        String limit = holdLimit == null ? "default" : holdLimit.toString();
        String implicit = implicitFences ? ", implicit fences" : "";
        return "GroupOptions[hold " + limit + " from " + holdFrom + implicit + "]";
    }
}
