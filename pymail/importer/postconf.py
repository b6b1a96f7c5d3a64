"""Why a parameter of Postfix is not carried over.  Pure."""

from fnmatch import fnmatchcase

SERVER = "only for a server that listens"
OWN = "for Postfix's own processes, files and programs"

# The first that fits counts; "*" stands for anything.
_REASONS = (
    (
        SERVER,
        """smtpd_* postscreen_* tlsproxy_* dnsblog_* qmqpd_* anvil_* milter_* address_verify_*
        unverified_* non_smtpd_milters internal_mail_filter_classes smtp_send_xforward_command
        smtp_xforward_timeout mynetworks mynetworks_style inet_interfaces proxy_interfaces
        relay_domains relay_recipient_maps relay_clientcerts permit_* authorized_* rbl_*
        maps_rbl_* local_login_sender_maps empty_address_local_login_sender_maps_lookup_key
        disable_vrfy_command broken_sasl_auth_clients allow_percent_hack allow_untrusted_routing
        local_header_rewrite_clients remote_header_rewrite_domain parent_domain_matches_subdomains
        strict_7bit_headers strict_8bitmime* strict_mime_* strict_rfc821_* strict_smtputf8
        receive_override_options stress in_flow_delay known_tcp_ports *verp_*
        show_user_unknown_table_name reject_code *_reject_code access_map_defer_code
        default_rbl_reply defer_code *_tempfail_action""",
    ),
    ("for relay_domains of a server that listens", "relay_transport"),
    (
        "users of this machine and the aliases get local mail",
        "local_recipient_maps local_transport",
    ),
    ("who speaks with the network is the user pymail here", "mail_owner"),
    ("newaliases reads what alias_maps names", "alias_database"),
    (
        "mail lies in the home of its user: home_mailbox",
        "mail_spool_directory mailbox_size_limit mailbox_delivery_lock virtual_mailbox_lock",
    ),
    (
        "one mailbox_command or mailbox_transport holds for all users, a .forward for one",
        "mailbox_command_maps mailbox_transport_maps fallback_transport fallback_transport_maps",
    ),
    (
        "local delivery has no such choice",
        """luser_relay prepend_delivered_header frozen_delivered_to reset_owner_alias
        strict_mailbox_ownership""",
    ),
    (
        "only users of this machine get local mail: name others in the aliases",
        "recipient_canonical_* virtual_* relocated_maps",
    ),
    (
        "sender_canonical_maps and smtp_generic_maps write addresses",
        "canonical_maps canonical_classes sender_canonical_classes masquerade_classes",
    ),
    (
        "messages are not looked into; a filter is a command of its own",
        """*header_checks *body_checks* message_drop_headers message_reject_characters
        message_strip_characters content_filter default_filter_nexthop""",
    ),
    (
        "no copies are made; an alias with two members makes them",
        "always_bcc sender_bcc_maps recipient_bcc_maps",
    ),
    (
        "transport_maps and sender_dependent_relayhost_maps choose the way",
        "sender_dependent_default_transport_maps empty_address_* best_mx_transport",
    ),
    (
        "smtp_tls_security_level holds for all servers, MTA-STS for those who have it",
        "smtp_tls_policy_maps smtp_tls_per_site *_dane_* *_tlsa_* dnssec_probe",
    ),
    (
        "no client certificate is shown: there are logins",
        """smtp_tls_cert_file smtp_tls_key_file smtp_tls_chain_files smtp_tls_dcert_file
        smtp_tls_dkey_file smtp_tls_eccert_file smtp_tls_eckey_file""",
    ),
    ("this machine's OpenSSL decides, from TLS 1.2 on", "smtp_tls_* tls_* openssl_path"),
    (
        "SASL needs no library, and a refused login holds mail",
        "smtp_sasl_* send_cyrus_sasl_authzid cyrus_sasl_config_path smtp_send_dummy_mail_auth",
    ),
    (
        "a connection is used again as long as there is mail for it",
        "smtp_connection_cache_* smtp_connection_reuse_* connection_cache_*",
    ),
    (
        "pymail does so by itself where it must",
        """smtp_pix_workaround* smtp_always_send_ehlo smtp_never_send_ehlo smtp_skip_*
        smtp_per_request_deadline smtp_min_data_rate""",
    ),
    (
        "servers are looked up in DNS, in their order; [host]:port names one",
        """smtp_host_lookup smtp_dns_* smtp_address_preference smtp_balance_inet_protocols
        smtp_randomize_addresses smtp_cname_overrides_servername smtp_tcp_port
        smtp_defer_if_no_mx_address_found disable_dns_lookups ignore_mx_lookup_error
        dns_ncache_*""",
    ),
    ("replies are taken as they are", "*_reply_filter *_delivery_status_filter"),
    (
        "bounces go to the sender, what nobody gets to postmaster",
        """notify_classes *notice_recipient double_bounce_sender bounce_template_file
        confirm_delay_cleared soft_bounce backwards_bounce_* helpful_warnings
        enable_original_recipient enable_threaded_bounces""",
    ),
    ("pymail notice tells of new mail", "biff"),
    (
        "commands get Postfix's variables, and no other environment",
        """command_expansion_filter execution_directory_expansion_filter forward_expansion_filter
        export_environment command_execution_directory local_command_shell""",
    ),
    (
        "messages are completed as Postfix does by default",
        """allow_min_user append_at_myorigin swap_bangpath resolve_* always_add_missing_headers
        propagate_unmatched_extensions detect_8bit_* disable_mime_* header_* line_length_limit
        undisclosed_recipients_header mime_* enable_idna2003_compatibility
        sendmail_fix_line_endings cleanup_replace_* smtp_quote_rfc821_envelope
        sun_mailtool_compatibility smtputf8_*""",
    ),
    (
        "the pace of delivery is pymail's own",
        """*_slot_cost *_slot_discount *_slot_loan *_minimum_delivery_slots *_refill_delay
        *_refill_limit *_feedback *_feedback_debug *_cohort_limit *initial_destination_concurrency
        *_transport_rate_delay *_recipient_limit *_process_limit transport_retry_time
        *_destination_rate_delay *_destination_concurrency_limit *_time_limit""",
    ),
    ("for other programs of Postfix", "lmtp_* pipe_*"),
    (
        OWN,
        """*_directory *_directories *_path *_group *_service_name *_name process_* maillog_*
        syslog_* debug* daemon_* master_* max_* multi_instance_* postlog* postmulti_* proxy_*
        qmgr_* service_* ipc_* trigger_* fast_flush_* flush_* fork_* hash_queue_* meta_* lmdb_*
        berkeley_db_* mail_* queue_* deliver_lock_* stale_lock_time duplicate_filter_limit
        fault_injection_code address_verify_* compatibility_level default_database_type
        import_environment enable_long_queue_ids delay_logging_resolution_limit info_log_*
        respectful_logging defer_transports application_event_drain_time dont_remove
        tcp_windowsize require_home_directory smtp_address_verify_target
        smtp_bind_address_enforce smtp_discard_ehlo_keyword_address_maps""",
    ),
)


def reason(name: str) -> str:
    """Return why a parameter is not carried over, "" where it is none that Postfix has."""
    for words, patterns in _REASONS:
        if any(fnmatchcase(name, pattern) for pattern in patterns.split()):
            return words
    return ""
