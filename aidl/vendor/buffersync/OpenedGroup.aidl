// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

package vendor.buffersync;

import vendor.buffersync.ISyncGroup;

/**
 * A new group: the object that commands it and the file descriptor that reports on it.
 */
@VintfStability
parcelable OpenedGroup {
    /**
     * The group. Whoever has this binder can use the group, nobody else can. When the last
     * reference to it goes, death of the process included, the group is closed: a grant it has
     * ends as an eviction, since nobody said that the work was finished.
     */
    ISyncGroup group;
    /**
     * Read end of a pipe of EventRecord. Poll it for POLLIN beside other descriptors; it may be
     * made non-blocking. POLLHUP: the group is closed or the service is gone.
     */
    ParcelFileDescriptor events;
    /** The hold limit that this group has, in milliseconds. */
    int holdLimitMs;
    /**
     * Names the group in unlockAndLock() of another one. A random number, never 0: who does not have
     * it can't guess it, and who has it can have the group locked, so it is as good as the binder.
     */
    long key;
}
