// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

package vendor.buffersync;

/**
 * A fence for an unlock (ISyncGroup.unlockBuffers(), unlockAndLock()): the buffer still belongs
 * to its holder until the fence has signalled.
 */
@VintfStability
parcelable ReleaseFence {
    /** The largest number of fences in one sync_file (SYNC_IOC_MERGE makes one of several). */
    const int MAX_FENCES = 64;

    /**
     * The buffer, as ISyncGroup.add() returned it; 0 for every buffer that ends in this call
     * and has no fence of its own. Several fences for one buffer add up.
     */
    long bufferId = 0;
    /** A sync_file (kernel: sync_file.rst) that signals when the work is finished. */
    ParcelFileDescriptor fence;
}
