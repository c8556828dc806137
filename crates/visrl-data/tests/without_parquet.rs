//! Parquet files in a build without the feature that reads them.
#![cfg(not(feature = "parquet"))]

use visrl_data::{CvBenchConfig, Error, ParquetConfig};

#[test]
fn a_parquet_file_names_the_feature_that_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.parquet");
    std::fs::write(&path, b"PAR1").unwrap();
    let bench = CvBenchConfig::default().open(folder.path()).map(drop);
    for result in [ParquetConfig::default().open(&path).map(drop), bench] {
        let error = result.unwrap_err();
        assert!(
            matches!(
                &error,
                Error::Feature {
                    feature: "parquet",
                    ..
                }
            ),
            "{error:?}"
        );
        let message = error.to_string();
        assert!(message.starts_with(path.to_str().unwrap()), "{message}");
        assert!(message.ends_with("`--features parquet`"), "{message}");
    }
}
