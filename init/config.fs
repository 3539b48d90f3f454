# Copyright 2026 The buffersync Authors
# SPDX-License-Identifier: Apache-2.0
#
# The service's user. Vendors may use 2900 to 2999 and 5000 to 5999 (system/core:
# android_filesystem_config.h). A product that already uses this number changes it here.

[AID_VENDOR_BUFFERSYNC]
value: 2975
