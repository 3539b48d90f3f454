// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

package vendor.buffersync;

import vendor.buffersync.ISyncGroup;

/**
 * A new group: its object for calls and its file descriptor for events.
 */
@VintfStability
parcelable OpenedGroup {
    /**
     * The group. Only a process that has this binder can use the group. When the last reference to
     * it goes, also by the death of a process, the group is closed: each grant that it has ends as
     * an eviction, because nobody said that the work was finished.
     */
    ISyncGroup group;
    /**
     * The client's end of a SOCK_SEQPACKET socket (unix(7)) with messages of EventRecord. The
     * service takes no message: to write is EPIPE. A client reads it even if each lock is granted
     * at once, because CONTENDED records come. It can poll it for POLLIN with other descriptors,
     * and can make it non-blocking. POLLHUP means that the group is closed or the service is gone.
     */
    ParcelFileDescriptor events;
    /** The hold limit of this group, in milliseconds. */
    int holdLimitMs;
}
