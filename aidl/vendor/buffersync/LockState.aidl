// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

package vendor.buffersync;

/**
 * A lock that has not ended.
 */
@VintfStability
parcelable LockState {
    /** Its number. */
    long lock;
    /** It waits: for its grant or, if it has one, for more (ISyncGroup.grow()). */
    boolean waiting;
    /**
     * Its grant, as in LockReply.grant, with the flags that a grant would have now; empty if it has
     * none yet.
     */
    long[] grant;
}
