// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

package vendor.buffersync;

/**
 * How far a lock came before lock() or tryLock() returned.
 */
@VintfStability
@Backing(type="int")
enum LockStatus {
    /** All buffers are held and coherent; the reply says all there is, and no event follows. */
    GRANTED = 1,
    /**
     * Accepted. Other holders have to let go first, a fence has to signal before the CPU may go on,
     * or cache maintenance has to be finished; the grant arrives as EventType.GRANTED (or
     * LOCK_FAILED) on the event pipe.
     */
    QUEUED = 2,
}
