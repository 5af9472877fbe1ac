//! The source controller against a real API server and real Git servers, good and bad.
//!
//! # What a GitRepository has to do, and the test that shows it
//!
//! Tests of this program are named by module and function. Others are named with where they are: `unit` stands for the unit
//! tests of the source controller, `git` for the tests of the Git client beside this program, `archives` for those of
//! archives, `verify` for those of signatures in the source controller.
//!
//! | Life | |
//! |---|---|
//! | made, finalizer, artifact, Ready | `life::a_first_artifact_is_told_once_with_revision_and_digest` |
//! | asked for by annotation | `life::a_suspended_object_rests_and_keeps_its_artifact`, and each test that reconciles |
//! | suspended and resumed | `life::a_suspended_object_rests_and_keeps_its_artifact` |
//! | deleted, also while suspended, also without artifact | `life::a_deleted_object_takes_its_files_along` |
//! | deleted with the finalizer of somebody else alone | `life::an_object_that_others_hold_while_it_is_deleted_is_left_alone` |
//! | deleted with the finalizer of somebody else beside ours | `life::an_object_that_others_hold_after_its_files_are_gone_says_so` |
//! | whatever it says | `bad_input::whatever_objects_say_each_is_answered` |
//! | not even readable | `bad_input::an_object_that_cannot_be_decoded_does_not_stop_the_others` |
//!
//! | Who asks | |
//! |---|---|
//! | anybody, basic, in the URL, over plain http | `access::a_password_opens_and_a_wrong_one_is_never_shown` |
//! | bearer token, beside basic | `access::a_bearer_token_opens` |
//! | client certificate, its key is none | `way::a_client_certificate_opens_and_a_bad_one_is_explained` |
//! | `caFile`, `ca.crt`, neither is a certificate | `access::a_private_authority_is_trusted_when_the_secret_names_it` |
//! | `ca.crt` before `caFile` | unit `auth::secret::a_certificate_authority_counts_over_https_only` |
//! | ssh key, encrypted, unknown server | `access::a_key_opens_over_ssh_and_submodules_come_along` |
//! | no Secret, half of one, app data without `github` | `access::secrets_that_do_not_fit_are_explained` |
//! | every key of a Secret on every transport | unit `auth::secret::*` |
//! | GitHub App, with and without its authority | `providers::a_github_app_opens_and_its_token_is_kept_as_long_as_the_object` |
//! | `github` without Secret, with basic auth, with a bad key | `providers::a_github_app_that_is_not_described_is_explained` |
//! | `azure` as a ServiceAccount | `providers::a_service_account_is_somebody_in_azure` |
//! | `aws` as a ServiceAccount | `way::codecommit_is_reached_as_a_service_account_and_through_the_proxy` |
//! | `gcp` as a ServiceAccount | `google::a_service_account_is_somebody_in_google_cloud` |
//! | `gcp` as one that is missing or does not say who it is | `google::a_service_account_that_is_nobody_in_google_cloud_is_explained` |
//! | `gcp` as the controller, also behind an authority of the Secret | `google::the_controller_is_known_to_google_by_its_machine`, `…_by_the_key_in_a_file` |
//! | what the API server takes of it | `google::the_api_server_knows_google_beside_the_providers_of_flux` |
//! | `aws` and `gcp` elsewhere, the clouds without the gate | `providers::clouds_ask_for_their_own_urls_and_for_the_gate` |
//! | requests for tokens, to the letter | unit `auth::provider::*` |
//! | proxies | `way::a_proxy_leads_to_a_server_whose_name_only_it_knows`, `git` `proxy::*` |
//! | a kept connection that leads nowhere any more | `way::a_connection_over_http2_that_leads_nowhere_any_more_is_replaced` |
//! | proxies that are not described | `providers::a_proxy_that_is_not_described_is_explained` |
//!
//! | Who answers | |
//! |---|---|
//! | errors, login pages, silence, half an answer | `bad_input::servers_that_fail_lie_or_hang_are_told_apart` |
//! | hostile servers, one by one, within time and memory | `hostile::each_is_named_within_its_time_and_holds_up_nobody` |
//! | 10,000 references, 100,000 | `hostile::a_hundred_thousand_references_are_no_harm` |
//! | nobody, for a while | `access::a_server_that_is_away_is_waited_for` |
//!
//! | Which revision | |
//! |---|---|
//! | nothing, branch, tag, name of a branch, tag or request | `reference::every_kind_of_reference_leads_to_its_commit` |
//! | semver `*`, `<`, pre-releases; commit, with a branch | `reference::every_kind_of_reference_leads_to_its_commit` |
//! | every form of range | unit tests of the Git client, `semver::*` |
//! | equal versions | `reference::versions_that_differ_in_build_metadata_only_are_told_apart_by_time` |
//! | none of these is there | `reference::references_that_are_not_there_are_named` |
//! | no commit at all | `bad_input::an_empty_repository_is_waited_for` |
//! | servers that can little, and what a fetch costs: the log | `reference::what_a_server_cannot_do_and_what_a_fetch_costs_is_in_the_log` |
//! | nothing has moved: no clone, no write | `reference::a_remote_that_did_not_move_is_only_listed` |
//! | nothing has moved, the status is that of an older release | `git` `cache::what_has_not_moved_costs_a_greeting_and_one_question` |
//! | nothing has moved, `spec.ignore` has changed | `artifact::what_is_ignored_stays_out` |
//! | a new one that cannot be stored: ArtifactOutdated | `storage::a_full_disk_keeps_the_last_good_artifact` |
//! | a new one that is stored: no longer | the same; unit `reconcile::conclude::a_success_takes_back_whatever_failed_before` |
//!
//! | What is in it | |
//! |---|---|
//! | bytes, modes, names, order | `archives` `archives_are_by_the_book_and_the_same_wherever_they_are_made` |
//! | trees at random | the same |
//! | `spec.ignore`, `.sourceignore`, also of directories | `artifact::what_is_ignored_stays_out`, and the same |
//! | the dialect of patterns, the reading of files | unit `ignore::*` |
//! | links | `bad_input::links_never_reach_an_artifact` |
//! | names that are no text, of an include too | `archives`, unit `include::names_that_are_no_text_stay_as_they_are` |
//! | names that do harm | `trees::names_that_would_do_harm_are_refused_with_their_path` |
//! | files over the limit | `bad_input::a_file_over_the_limit_is_named_and_the_artifact_before_stays` |
//! | submodules | `access::a_key_opens_over_ssh_and_submodules_come_along`, `git` `submodules::*` |
//! | sparse: what is taken, what is missing | `trees::a_sparse_checkout_takes_its_directories_and_nothing_else` |
//! | sparse, every kind of reference | `trees::every_kind_of_reference_leads_to_a_part_of_a_tree` |
//! | paths of `sparseCheckout` are those of the tree | unit `checkout::a_sparse_checkout_takes_what_begins_with_the_text_of_an_entry` |
//! | links in `sparseCheckout` | unit `checkout::an_entry_that_is_a_link_wants_what_it_leads_to` |
//! | any setting that changes it | unit `reconcile::settings_that_change_the_content_call_for_a_new_artifact` |
//! | missing includes, late ones, new ones, none any more | `trees::what_is_included_is_waited_for_and_followed` |
//! | an include without artifact, in the way, `../../../path` | `trees::an_include_that_cannot_be_copied_says_why` |
//! | includes: all of it, a directory, a file, below another | unit `include::an_artifact_goes_where_the_spec_says` |
//! | unpacking what is hostile | unit tests of artifacts, `unpack::*` |
//!
//! | Who has signed it | |
//! |---|---|
//! | modes, kinds of keys and signatures, every refusal | `verify`, which has a table of its own |
//! | an unsigned commit keeps the artifact; `verify` is removed | `verification::only_what_a_trusted_key_has_signed_is_published` |
//! | no Secret, other keys later | `verification::a_key_that_is_withdrawn_counts_with_the_next_look` |
//! | tags: none, not signed, signed | `verification::a_tag_that_is_to_be_verified_has_to_be_there_and_signed` |
//! | a mode that asks for more than before | unit `verify::needs::a_mode_that_asks_for_more_than_was_verified_needs_a_verification` |
//! | malformed armor, payloads, keys | unit `verify::*`, `verify` `openpgp::*`, `openpgp_keys::*`, `ssh::*` |
//!
//! | Where it lies | |
//! |---|---|
//! | garbage by number | `artifact::old_artifacts_go_and_the_last_one_but_one_stays_a_while` |
//! | garbage by age, and by both | unit `storage::gc::*` |
//! | garbage and locks | unit `storage::garbage_goes_and_the_current_file_stays` |
//! | garbage: a thousand files at a time | unit `storage::much_garbage_goes_bit_by_bit` |
//! | a missing file, another digest | `artifact::a_lost_or_damaged_file_is_made_again_with_the_same_digest` |
//! | an empty digest | unit `storage::a_stored_file_is_intact_until_it_is_touched` |
//! | another address | `storage::artifacts_are_found_at_the_address_that_is_told_now` |
//! | which address is told | unit `storage::path::*` |
//! | paths lead nowhere else | unit `storage::path::a_path_belongs_to_its_place_or_not_at_all` |
//! | files are those of the object | unit `storage::only_files_of_the_object_are_opened` |
//! | no room | `storage::a_full_disk_keeps_the_last_good_artifact` |
//! | no directory, a lock | `storage::a_place_that_cannot_be_written_is_told_until_it_can` |
//! | a directory that must not be looked into | `storage::an_artifact_that_nobody_can_look_at_is_announced_on` |
//! | killed while fetching | `artifact::a_kill_while_fetching_leaves_no_trace_after_the_next_start` |
//! | killed while writing | `storage::what_a_killed_process_left_half_written_goes_with_the_next_start` |
//! | flushed to the disk before it is announced | `durable::an_artifact_is_on_the_disk_before_it_has_its_name_and_then_so_is_the_name` |
//! | a disk that fails then | `durable::a_disk_that_does_not_take_what_is_written_keeps_the_last_good_artifact` |
//! | a directory that Flux has left | `takeover::what_flux_left_is_served_on_and_nothing_of_it_is_fetched_or_written_again` |
//! | what Flux goes on writing in it | `takeover::what_somebody_goes_on_writing_is_left_until_its_lock_is_free` |
//! | there and back with Flux itself | `hack/takeover` |
//! | digests of every algorithm | `storage::digests_are_of_the_wanted_algorithm`, unit tests of artifacts, `digest::*` |
//! | size and `Content-Length` are the same | every test that downloads an artifact |
//! | served, and nothing else is | `artifact::nothing_but_artifacts_is_served`, unit `server::*` |
//! | the address is taken, or none; no storage | `storage::a_controller_that_cannot_serve_ends_and_says_why` |
//! | a graceful end | `artifact::a_download_that_is_under_way_ends_well_when_the_server_has_to_go` |
//! | flags, and the environment instead | unit `args::*` |
//!
//! | What is told | |
//! |---|---|
//! | work in progress | `life::work_in_progress_shows` |
//! | a new generation | unit `reconcile::conclude::a_new_generation_that_fails_is_not_observed` |
//! | a request | unit `reconcile::conclude::a_failure_keeps_the_artifact_and_a_recovery_is_told` |
//! | Ready out of the others, by priority | unit `reconcile::conclude::ready_repeats_the_condition_that_tells_most` |
//! | a success takes back every failure | unit `reconcile::conclude::a_success_takes_back_whatever_failed_before` |
//! | retried | unit `reconcile::conclude::a_first_failure_is_retried_in_silence` |
//! | waiting | unit `reconcile::conclude::what_is_to_be_included_is_waited_for` |
//! | stalled | unit `reconcile::conclude::what_only_the_spec_can_mend_stalls` |
//! | nothing new | unit `reconcile::conclude::an_interval_without_news_changes_nothing` |
//! | events: error, new, recovery, both, the same bytes, nothing | unit `reconcile::conclude::*` |
//! | order, times and lengths of conditions | unit tests of the runtime, `conditions::*` |
//! | reasons and texts of failures | unit `reconcile::failure::every_failure_has_the_words_and_the_fate_of_flux` |
//! | an interval without news writes nothing | `life::an_interval_without_news_writes_nothing` |
//! | a status that somebody else has changed | `life::conditions_that_were_taken_away_come_back_after_a_closer_look`, unit `storage::a_stored_file_is_intact_until_it_is_touched` |
//!
//! | What is written about it | |
//! |---|---|
//! | every field: default, example, what can go wrong | `docs::every_field_has_a_section_with_a_default_an_example_and_what_can_go_wrong` |
//! | every example | `docs::the_api_server_takes_every_example` |
//!
//! Of what Flux's own tests look at, this has no place here:
//!
//! - A target directory that is missing or is none, and rules that cannot be loaded from it: there is no working tree
//!   (`checkout`), so nobody can take it away.
//! - A success that leaves Ready at False: a success removes every condition that would say so.
//! - Garbage collection that runs into its deadline: it looks at a thousand files at most, and has none.
//! - Credentials refused over plain http: the controller allows them, as Flux's does.
//! - Links that are resolved on unpacking, filters on unpacking: links are never archived, and skipped in artifacts of others.
//! - Bucket, OCIRepository, HelmRepository and HelmChart: there is no such kind.
//! - A first minute from an empty cluster to Ready samples, and very large repositories: `hack/quickstart --check` and
//!   `hack/bench source` do that.

mod access;
mod artifact;
mod bad_input;
mod docs;
mod durable;
mod google;
mod hostile;
mod life;
mod providers;
mod reference;
mod stage;
mod storage;
mod takeover;
mod tokens;
mod trees;
mod verification;
mod way;
