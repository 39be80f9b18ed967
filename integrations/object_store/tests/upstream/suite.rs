//! The functions of `object_store::integration`, each by its name, for each version. Left out is `response_extensions`, which is about HTTP.

use futures::TryStreamExt;
use godfs_client::{ErrorKind, WalkOptions};
use godfs_object_store::GodfsStore;

/// Hands the names of all functions of each version to a macro.
macro_rules! every_function {
    ($tests:ident) => {
        $tests! {
            v0_13: put_get_delete_list, put_get_attributes, get_opts, put_opts, stream_get, list_uses_directories_correctly,
            list_with_delimiter, get_nonexistent_object, rename_and_copy, copy_if_not_exists, copy_rename_nonexistent_object,
            multipart, multipart_race_condition, multipart_out_of_order, list_paginated, list_with_offset_exclusivity,
        }
        $tests! {
            v0_14: put_get_delete_list, put_get_attributes, get_opts, put_opts, stream_get, list_uses_directories_correctly,
            list_with_delimiter, get_nonexistent_object, rename_and_copy, copy_if_not_exists, copy_rename_nonexistent_object,
            multipart, multipart_race_condition, multipart_out_of_order, list_paginated, list_with_offset_exclusivity,
            multipart_with_opts, multipart_put_part_out_of_order,
        }
    };
}

macro_rules! functions {
    ($version:ident, $api:ident) => {
        pub(crate) mod $version {
            use godfs_object_store::GodfsStore;
            use $api::integration as upstream;

            pub(crate) async fn put_get_delete_list(store: &GodfsStore) {
                upstream::put_get_delete_list(store).await;
            }

            pub(crate) async fn put_get_attributes(store: &GodfsStore) {
                upstream::put_get_attributes(store).await;
            }

            pub(crate) async fn get_opts(store: &GodfsStore) {
                upstream::get_opts(store).await;
            }

            pub(crate) async fn put_opts(store: &GodfsStore) {
                upstream::put_opts(store, true).await;
            }

            pub(crate) async fn stream_get(store: &GodfsStore) {
                upstream::stream_get(store).await;
            }

            pub(crate) async fn list_uses_directories_correctly(store: &GodfsStore) {
                upstream::list_uses_directories_correctly(store).await;
            }

            pub(crate) async fn list_with_delimiter(store: &GodfsStore) {
                upstream::list_with_delimiter(store).await;
            }

            pub(crate) async fn get_nonexistent_object(store: &GodfsStore) {
                for key in [None, Some("no/such/object")] {
                    let error = upstream::get_nonexistent_object(store, key.map($api::path::Path::from))
                        .await
                        .expect_err("not there");
                    assert!(matches!(error, $api::Error::NotFound { .. }), "{error}");
                }
            }

            pub(crate) async fn rename_and_copy(store: &GodfsStore) {
                upstream::rename_and_copy(store).await;
            }

            pub(crate) async fn copy_if_not_exists(store: &GodfsStore) {
                upstream::copy_if_not_exists(store).await;
            }

            pub(crate) async fn copy_rename_nonexistent_object(store: &GodfsStore) {
                upstream::copy_rename_nonexistent_object(store).await;
            }

            pub(crate) async fn multipart(store: &GodfsStore) {
                upstream::multipart(store, store).await;
            }

            pub(crate) async fn multipart_race_condition(store: &GodfsStore) {
                upstream::multipart_race_condition(store, true).await;
            }

            pub(crate) async fn multipart_out_of_order(store: &GodfsStore) {
                upstream::multipart_out_of_order(store).await;
            }

            pub(crate) async fn list_paginated(store: &GodfsStore) {
                upstream::list_paginated(store, store).await;
            }

            pub(crate) async fn list_with_offset_exclusivity(store: &GodfsStore) {
                upstream::list_with_offset_exclusivity(store).await;
            }
        }
    };
}

functions!(v0_13, object_store_013);
mod only_0_14 {
    use godfs_object_store::GodfsStore;
    use object_store_014::integration as upstream;

    pub(crate) async fn multipart_with_opts(store: &GodfsStore) {
        upstream::multipart_with_opts(store, store).await;
    }

    pub(crate) async fn multipart_put_part_out_of_order(store: &GodfsStore) {
        upstream::multipart_put_part_out_of_order(store, store).await;
    }
}
functions!(v0_14_common, object_store_014);
pub(crate) mod v0_14 {
    pub(crate) use super::only_0_14::*;
    pub(crate) use super::v0_14_common::*;
}

/// Whatever the functions leave, deleting it leaves nothing: no directory, and no part of an upload.
pub(crate) async fn nothing_is_left_below(store: &GodfsStore) {
    use object_store_014::ObjectStore;
    let all = ObjectStore::list(store, None).map_ok(|meta| meta.location);
    ObjectStore::delete_stream(store, Box::pin(all)).try_collect::<Vec<_>>().await.expect("deleted");
    store.collect_abandoned(std::time::Duration::ZERO).await.expect("collected");
    match store.client().walk(store.root(), WalkOptions::new()).expect("a walk").try_collect::<Vec<_>>().await {
        Ok(left) => assert_eq!(left, []),
        Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
    }
}
