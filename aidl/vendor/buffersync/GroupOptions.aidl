// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

package vendor.buffersync;

import vendor.buffersync.HoldFrom;

/**
 * Options of a new group.
 */
@VintfStability
parcelable GroupOptions {
    /**
     * The hold limit: a grant of this group is taken away after this time, in milliseconds. 0 asks
     * for the service's default; a value above Capabilities.maxHoldMs is reduced to that. Negative
     * values are refused with EX_ILLEGAL_ARGUMENT.
     */
    int holdLimitMs = 0;
    /**
     * The moment from which the hold limit counts. Unknown values are refused with
     * EX_ILLEGAL_ARGUMENT.
     */
    HoldFrom holdFrom = HoldFrom.GRANT;
    /**
     * Synchronise with drivers and users of implicit fences too (kernel: dma-buf.rst, "Implicit
     * Fence Poll Support"). For the group's DMA accesses, acquire fences then include the pending
     * fences in the dma-bufs' reservation objects, and release fences are added there. CPU accesses
     * always wait for those fences. ERROR_UNSUPPORTED without Capabilities.FEATURE_IMPLICIT_FENCES.
     */
    boolean implicitFences = false;
}
