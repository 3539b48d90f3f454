// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

package vendor.buffersync;

/**
 * What a buffer is left with by ISyncGroup.unlockWithFences(): it is its holder's until this has
 * signalled.
 */
@VintfStability
parcelable ReleaseFence {
    /** The most fences that one sync_file may be made of (SYNC_IOC_MERGE makes one of several). */
    const int MAX_FENCES = 64;

    /**
     * The buffer, as ISyncGroup.add() named it; 0: every buffer of the grant that is given no fence
     * of its own. Several fences for one buffer add up.
     */
    long bufferId = 0;
    /** A sync_file (kernel: sync_file.rst) that signals when the work is finished. */
    ParcelFileDescriptor fence;
}
