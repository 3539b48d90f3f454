/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

/** The moment from which the hold limit of a group's grants counts. */
public enum HoldFrom {
    /** From the grant. */
    GRANT,
    /**
     * From the first lock that has to wait for the grant. Until then the grant has no deadline, so a
     * paused display can keep what nobody else wants.
     */
    CONFLICT
}
