dnl Copyright 2026 The buffersync Authors
dnl SPDX-License-Identifier: Apache-2.0
dnl
dnl The macros of AOSP's te_macros that the vendor's files use: their names and what they mean, no more
dnl than is needed here.
dnl
dnl hal_attribute(x): a HAL, whoever serves it and whoever uses it.
define(`hal_attribute', `
attribute hal_$1;
attribute hal_$1_client;
attribute hal_$1_server;
')dnl
dnl hal_server_domain(domain, hal): the domain serves the HAL.
define(`hal_server_domain', `
typeattribute $1 halserverdomain;
typeattribute $1 $2_server;
typeattribute $1 $2;
')dnl
dnl hal_client_domain(domain, hal): the domain uses the HAL, which another domain serves.
define(`hal_client_domain', `
typeattribute $1 halclientdomain;
typeattribute $1 $2_client;
')dnl
dnl hal_attribute_service(hal, service): the HAL's servers, and nobody else, register it; its clients find it.
define(`hal_attribute_service', `
allow $1_client $2:service_manager find;
allow $1_server $2:service_manager { add find };
neverallow { domain -$1_server } $2:service_manager add;
')dnl
dnl binder_use(domain): may talk to the service manager.
define(`binder_use', `
allow $1 servicemanager:binder { call transfer };
allow servicemanager $1:binder { call transfer };
allow $1 binder_device:chr_file { ioctl read write open map getattr };
')dnl
dnl binder_call(client, server): calls, the objects in them, and the descriptors of the replies.
define(`binder_call', `
allow $1 $2:binder { call transfer };
allow $2 $1:binder transfer;
allow $1 $2:fd use;
')dnl
dnl init_daemon_domain(domain): init starts DOMAIN_exec in the domain.
define(`init_daemon_domain', `
allow init $1_exec:file { getattr open read execute map };
allow $1 $1_exec:file { entrypoint getattr open read execute map };
allow init $1:process { transition siginh rlimitinh noatsecure };
allow $1 init:process sigchld;
type_transition init $1_exec:process $1;
')dnl
dnl get_prop(domain, property): reads it.
define(`get_prop', `
allow $1 $2:file { getattr open read map };
')dnl
dnl userdebug_or_eng(rules): on development builds, which this is.
define(`userdebug_or_eng', `$1')dnl
dnl vendor_restricted_prop(property): written by the vendor's domains, read by whoever is allowed.
define(`vendor_restricted_prop', `
type $1, property_type;
neverallow { domain -init } $1:property_service set;
')dnl
