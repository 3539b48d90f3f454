// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

package vendor.buffersync;

/**
 * Options of a new group.
 */
@VintfStability
parcelable GroupOptions {
    /**
     * How long one grant of this group may last before it is taken away, in milliseconds.
     * 0 asks for the service's default; anything above Capabilities.maxHoldMs is cut to that.
     * Negative values are refused with EX_ILLEGAL_ARGUMENT.
     */
    int holdLimitMs = 0;
    /**
     * Talk to drivers and users of implicit synchronisation too (kernel: dma-buf.rst, "Implicit Fence
     * Poll Support"). For the group's DMA accesses, acquire fences then include what is pending in
     * the dma-bufs' reservation objects, and release fences are put there. CPU accesses wait for
     * those fences always. ERROR_UNSUPPORTED without Capabilities.FEATURE_IMPLICIT_FENCES.
     */
    boolean implicitFences = false;
}
