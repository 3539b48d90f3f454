// Copyright 2026 The buffersync Authors
// SPDX-License-Identifier: Apache-2.0

package vendor.buffersync;

/**
 * The moment from which the hold limit of a grant counts.
 */
@VintfStability
@Backing(type="int")
enum HoldFrom {
    /** From the grant, as in the dmabuf-sync RFC. */
    GRANT = 0,
    /**
     * From the first lock that has to wait for the grant, or from the grant if one waits already.
     * Until then the grant has no deadline: a paused display can keep what nobody else wants. A lock
     * that waits has to wait no longer than with GRANT.
     */
    CONFLICT = 1,
}
