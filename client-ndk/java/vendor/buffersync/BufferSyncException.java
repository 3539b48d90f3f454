/*
 * Copyright 2026 The buffersync Authors
 * SPDX-License-Identifier: Apache-2.0
 */

package vendor.buffersync;

import java.io.IOException;

/** A call failed; {@link #code} tells the reason. */
public class BufferSyncException extends IOException {
    private static final long serialVersionUID = 1L;

    /** The reason of the failure: javadoc shows the fields of a class that can be serialized. */
    private final ErrorCode code;


    /** The native library calls this. */
    BufferSyncException(int code, String message) {
        super(message);
        this.code = ErrorCode.of(code);
    }

    BufferSyncException(ErrorCode code, String message) {
        super(message);
        this.code = code;
    }

    /**
     * The reason of the failure.
     *
     * @return the code
     */
    public ErrorCode code() {
        return code;
    }

    @Override
    public String toString() {
        return getClass().getName() + ": " + code + ": " + getMessage();
    }
}
