// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

package vendor.buffersync;

/**
 * The features and the limits of this service. They are constant while the service runs.
 *
 * The limits of a uid are maxima. If many uids have much, each may have less, so that some is left
 * for the next uid; the text of ERROR_QUOTA says how much that is.
 */
@VintfStability
parcelable Capabilities {
    /** unlockBuffers() takes release fences, and grants to devices come with acquire fences. */
    const long FEATURE_RELEASE_FENCE = 0x1;
    /**
     * GroupOptions.implicitFences works: the kernel has DMA_BUF_IOCTL_EXPORT_SYNC_FILE and
     * DMA_BUF_IOCTL_IMPORT_SYNC_FILE (Linux 6.0).
     */
    const long FEATURE_IMPLICIT_FENCES = 0x2;

    /** Bits FEATURE_*. Clients ignore bits that they do not know. */
    long features;
    /** The hold limit of a group that asks for none, in milliseconds. 1 .. maxHoldMs. */
    int defaultHoldMs;
    /**
     * The longest hold limit that a group can have, in milliseconds. At least 1. It is also the
     * life of a ticket (see ISyncGroup), and the longest wait for an implicit fence (see
     * EventType.LOCK_FAILED).
     */
    int maxHoldMs;
    /** The number of groups that one uid may have open at once. */
    int maxGroupsPerUid;
    /**
     * The number of buffers that one group may contain. At most 126, so that a grant fits one
     * message of an event channel.
     */
    int maxBuffersPerGroup;
    /**
     * The number of locks that one group may have at once, waiting or granted. They may have 1024
     * buffers in sum, so that their records fit the event channel.
     */
    int maxLocksPerGroup;
    /**
     * The number of (group, buffer) memberships that one uid may have at once, over all its groups.
     */
    int maxBuffersPerUid;
    /** The number of locks that one uid may have waiting at once. */
    int maxQueuedPerUid;
    /** The number of release fences that one uid may have pending at once. */
    int maxFencesPerUid;
    /** The number of release fences that one group may have pending at once. */
    int maxFencesPerGroup;
    /** The number of file descriptors that one handle given to ISyncGroup.add() may carry. */
    int maxFdsPerHandle;
}
