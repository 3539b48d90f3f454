// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

package vendor.buffersync;

/**
 * One buffer of a grant.
 */
@VintfStability
parcelable GrantedBuffer {
    /** As ISyncGroup.add() named it. */
    long bufferId;
    /**
     * How many exclusive grants this buffer has seen, this one included. Two reads that see the
     * same generation saw the same content; a difference of more than one means that a frame was
     * overwritten in between. Counts from the buffer's first registration in any group and starts
     * again when the last group lets the buffer go.
     */
    long generation;
    /**
     * The previous holder did not let go in order: it was evicted or it died. Its content may be
     * half written and, if the holder still lives, may still be changing (as EOWNERDEAD of a
     * robust mutex). So every grant says until one that began after the eviction has ended in order.
     */
    boolean evicted;
    /**
     * Other devices may still be at work on it: wait for the grant's acquire fence
     * (LockReply.acquireFence, ISyncGroup.getAcquireFence()) before touching it. Never for the CPU's
     * accesses, which are granted when the work is done.
     */
    boolean fenced;
}
