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
     * From the moment at which the first lock has to wait for the grant. If a lock waits already at
     * the grant: from the grant. At the latest from the moment at which the holder itself waits for
     * more, for others or for their fences. Until then the grant has no deadline, so a paused
     * display can keep what nobody else wants. The deadline stays if that lock gives up. The
     * longest wait for one grant is the hold limit, as with GRANT.
     */
    CONFLICT = 1,
}
