dnl Copyright 2026 The buffersync Authors
dnl SPDX-License-Identifier: Apache-2.0
dnl
dnl The macros of AOSP's te_macros that the vendor's files use, with AOSP's names and meaning, for a current
dnl device (full Treble, properties with owners, userdebug). Rules about classes that nobody here checks are
dnl left out.
dnl
dnl userdebug_or_eng(rules): rules for development builds, like this one.
define(`userdebug_or_eng', `$1')dnl
dnl build_test_only(rules): rules that are checked when a policy is built.
define(`build_test_only', ifelse(target_exclude_build_test, `true', , `$1'))dnl
dnl hal_attribute(x): a HAL, its servers and its clients. Only the macros below make a domain one of them.
define(`hal_attribute', `
attribute hal_$1;
expandattribute hal_$1 true;
attribute hal_$1_client;
expandattribute hal_$1_client true;
attribute hal_$1_server;
expandattribute hal_$1_server false;
neverallow { hal_$1_server -halserverdomain } domain:process fork;
build_test_only(`
neverallow { hal_$1_server -hal_$1 } domain:process fork;
neverallow { hal_$1_client -halclientdomain } domain:process fork;
')
')dnl
dnl hal_server_domain(domain, hal): the domain serves the HAL.
define(`hal_server_domain', `
typeattribute $1 halserverdomain;
typeattribute $1 $2_server;
typeattribute $1 $2;
')dnl
dnl hal_client_domain(domain, hal): the domain uses the HAL.
define(`hal_client_domain', `
typeattribute $1 halclientdomain;
typeattribute $1 $2_client;
')dnl
dnl add_service(domain, service): only this domain registers the service.
define(`add_service', `
allow $1 $2:service_manager { add find };
neverallow { domain -$1 } $2:service_manager add;
')dnl
dnl hal_attribute_service(hal, service): only the HAL's servers register it; only its clients and general tools
dnl find it. (The testbed's shell, kernel, is such a tool.)
define(`hal_attribute_service', `
allow $1_client $2:service_manager find;
add_service($1_server, $2)
build_test_only(`
neverallow { domain -$1_client -$1_server -shell -kernel } $2:service_manager find;
')
')dnl
dnl binder_use(domain): may call the service manager. (Another rule lets every domain use the driver's node.)
define(`binder_use', `
allow $1 servicemanager:binder { call transfer };
allow servicemanager $1:binder { call transfer };
')dnl
dnl binder_call(client, server): calls, the objects in them, and the descriptors of the replies.
define(`binder_call', `
allow $1 $2:binder { call transfer };
allow $2 $1:binder transfer;
allow $1 $2:fd use;
')dnl
dnl domain_auto_trans(old, program, new): a process of old that starts the program enters new.
define(`domain_auto_trans', `
allow $1 $2:file { getattr open read execute map };
allow $1 $3:process { transition siginh rlimitinh };
dontaudit $1 $3:process noatsecure;
allow $3 $2:file { entrypoint open read execute getattr map };
ifelse($1, `init', `', `allow $3 $1:process sigchld;')
type_transition $1 $2:process $3;
')dnl
dnl init_daemon_domain(domain): init starts DOMAIN_exec in the domain.
define(`init_daemon_domain', `domain_auto_trans(init, $1_exec, $1)')dnl
dnl get_prop(domain, property): the domain reads the property.
define(`get_prop', `
allow $1 $2:file { getattr open read map };
')dnl
dnl set_prop(domain, property): the domain asks init to set the property.
define(`set_prop', `
allow $1 property_socket:sock_file write;
allow $1 init:unix_stream_socket connectto;
allow $1 $2:property_service set;
get_prop($1, $2)
')dnl
dnl define_prop(property, owner, scope)
define(`define_prop', `
type $1, property_type, $2_property_type, $2_$3_property_type;
')dnl
dnl vendor_restricted_prop(property): the vendor's domains may be allowed to set it; of the platform's domains only
dnl init.
define(`vendor_restricted_prop', `
define_prop($1, vendor, restricted)
neverallow { coredomain -init } $1:property_service set;
')dnl
dnl dump_hal(hal): the HAL writes its dump into a pipe of dumpstate, for bug reports.
define(`dump_hal', `
hal_client_domain(dumpstate, $1)
allow $1_server dumpstate:fifo_file write;
allow $1_server dumpstate:fd use;
')dnl
