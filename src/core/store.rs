//! placeholder
use std::path::PathBuf;
#[derive(Debug, Clone)]
pub struct Store(String);
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{what} not found")]
    NotFound { what: String },
    #[error("{0}")]
    Other(String),
}
#[derive(PartialEq, Eq, Debug)]
pub enum Created {
    New,
    Exists,
}
pub struct Entry {
    pub name: String,
    pub size: u64,
}
impl Store {
    pub fn open(url: &str) -> Result<Store, StoreError> {
        Ok(Store(url.into()))
    }
    pub fn url(&self) -> &str {
        &self.0
    }
    fn p(&self, n: &str) -> PathBuf {
        PathBuf::from(&self.0).join(n)
    }
    pub fn local_path(&self, n: &str) -> Option<PathBuf> {
        Some(self.p(n))
    }
    pub fn get(&self, n: &str) -> Result<Vec<u8>, StoreError> {
        std::fs::read(self.p(n)).map_err(|_| StoreError::NotFound { what: n.into() })
    }
    pub fn put(&self, n: &str, b: &[u8]) -> Result<(), StoreError> {
        std::fs::create_dir_all(&self.0).unwrap();
        std::fs::write(self.p(n), b).map_err(|e| StoreError::Other(e.to_string()))
    }
    pub fn create(&self, n: &str, b: &[u8]) -> Result<Created, StoreError> {
        if self.p(n).exists() {
            Ok(Created::Exists)
        } else {
            self.put(n, b)?;
            Ok(Created::New)
        }
    }
    pub fn list(&self, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let Ok(d) = std::fs::read_dir(&self.0) else { return Ok(vec![]) };
        let mut v: Vec<Entry> = d
            .filter_map(|e| {
                let e = e.ok()?;
                let name = e.file_name().into_string().ok()?;
                name.starts_with(prefix).then(|| Entry { size: e.metadata().unwrap().len(), name })
            })
            .collect();
        v.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(v)
    }
    pub fn delete(&self, n: &str) -> Result<(), StoreError> {
        let _ = std::fs::remove_file(self.p(n));
        Ok(())
    }
}
