# Copyright 2026 The buffersync Authors
# SPDX-License-Identifier: Apache-2.0
#
# The HAL for a product, by one line of its makefile:
#
#     $(call inherit-product, vendor/buffersync/buffersync.mk)
#
# What can be set before that line:
#
#   BUFFERSYNC_DIR               where this is in the tree
#   BUFFERSYNC_APEX              true: the service as the vendor APEX com.vendor.buffersync
#   BUFFERSYNC_PUBLIC_LIBRARIES  false: the product has a public.libraries.txt of its own, to which
#                                it adds the lines of client-ndk/public.libraries.txt

BUFFERSYNC_DIR ?= vendor/buffersync
BUFFERSYNC_APEX ?= false
BUFFERSYNC_PUBLIC_LIBRARIES ?= true

# The service, with its rc file and VINTF manifest.
ifeq ($(BUFFERSYNC_APEX),true)
PRODUCT_PACKAGES += com.vendor.buffersync
else
PRODUCT_PACKAGES += vendor.buffersync-service
endif

# What apps load.
PRODUCT_PACKAGES += \
    libbuffersync \
    libbuffersync_jni
ifeq ($(BUFFERSYNC_PUBLIC_LIBRARIES),true)
PRODUCT_COPY_FILES += \
    $(BUFFERSYNC_DIR)/client-ndk/public.libraries.txt:$(TARGET_COPY_OUT_VENDOR)/etc/public.libraries.txt
endif

# The service's user.
TARGET_FS_CONFIG_GEN += $(BUFFERSYNC_DIR)/init/config.fs

# The framework knows the HAL; SELinux knows everybody.
DEVICE_FRAMEWORK_COMPATIBILITY_MATRIX_FILE += \
    $(BUFFERSYNC_DIR)/init/device_framework_compatibility_matrix.xml
BOARD_VENDOR_SEPOLICY_DIRS += $(BUFFERSYNC_DIR)/sepolicy
