//! Git from outside of a cluster: the client against real servers over http and ssh.
//!
//! # What a client has to do, and the test that shows it
//!
//! `unit` stands for the unit tests of the client.
//!
//! | | |
//! |---|---|
//! | every kind of reference | `dialects::every_server_is_understood` |
//! | the same where it is there already | `cache::whatever_leads_to_a_commit_that_is_there_fetches_nothing_of_it` |
//! | semver: order, ties, no match | unit `semver::*`; with the controller |
//! | references and commits that are not there | `ssh::what_is_not_there_is_said_in_the_words_of_the_server`; with the controller |
//! | a commit that no reference names | `ssh::a_commit_that_no_reference_names_is_taken_out_of_the_history` |
//! | no commit at all | `dialects::empty_repositories_of_every_server_are_told_apart_from_missing_references` |
//! | nothing has moved, told as today and as before | `cache::what_has_not_moved_costs_a_greeting_and_one_question` |
//! | connections that end without a word | `http::a_kept_connection_that_has_ended_without_a_word_is_replaced`, `http::connections_may_end_at_any_question_over_tls_and_both_versions_of_http`, `hostile::a_question_without_an_answer_is_put_twice_and_no_more` |
//! | old protocols, servers that can little | `dialects::every_server_is_understood` |
//! | SHA-256 | `http::repositories_with_sha_256_names_are_read` |
//! | submodules, nested, relative, pinned, hostile | `submodules::*` |
//! | keys of five kinds | `ssh::every_kind_of_key_logs_in` |
//! | encrypted keys, with the passphrase and without | `ssh::an_encrypted_key_needs_its_passphrase` |
//! | keys that are refused | `ssh::a_key_that_may_not_log_in_is_refused` |
//! | each key exchange, each kind of host key, plain and hashed | `ssh::every_named_algorithm_is_agreed_upon` |
//! | none in common | `ssh::only_the_wanted_algorithms_are_agreed_upon` |
//! | known hosts: plain, hashed, with another key | `ssh::only_known_servers_are_talked_to`, unit `ssh::known_hosts::*` |
//! | certificates of hosts | `ssh::a_certificate_of_a_known_authority_is_enough` |
//! | proxies: http, https, socks5, logins, `NO_PROXY` | `proxy::*`, unit `proxies::*` |
//! | authorities, client certificates | `tls::*` |
//! | HTTP/2: a fetch, a large one, refusals, logins, redirects | `http2::real_repositories_are_fetched_and_refusals_are_told`, `http2::redirects_take_no_credentials_to_another_host` |
//! | HTTP/2: streams that are reset, connections that go away or are retired | `http2::questions_that_nobody_has_looked_at_are_put_again`, `http2::answers_that_break_off_are_told`, `http2::a_connection_that_is_retired_finishes_what_it_has_begun` |
//! | HTTP/2: hostile servers | `http2::servers_that_stall_drip_or_never_end_are_given_up` |
//! | redirects | `tls::redirects_take_no_credentials_to_another_host`, `hostile::redirects_that_lead_nowhere_are_given_up` |
//! | credentials out of URLs, and what is no URL | unit `credentials::*`, `url::*` |
//! | subjects of commits | unit `objects::facts::a_subject_is_the_first_line_and_at_most_fifty_characters` |
//! | hostile servers | `hostile::*`, and the memory they may cost in a program of its own |
//! | kills | `kill::a_process_may_be_killed_at_any_moment` |

mod cache;
mod dialects;
mod hostile;
mod http;
mod http2;
mod kill;
mod proxy;
mod ssh;
mod stage;
mod submodules;
mod tls;
