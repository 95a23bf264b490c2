"""S3 storage: two buckets on AWS S3 or any server that speaks it, originals and renditions. What many machines share.

    options       what there is to set, with the names of the settings that errors tell
    names         our keys as S3 keys, our metadata as headers, and back
    faults        what drivers raise, as Safelight's errors
    connection    one obstore store per bucket and one aiobotocore client; retries, deadlines, credentials
    listing       what a bucket holds: keys, versions, delete markers
    upload        bodies of any length: memory, a spool, multipart
    bucket        S3Storage: the Storage port on one bucket
    store         S3Store: both buckets, refused at `open` when they are not as they must be
    incoming      S3Incoming: presigned forms and PUTs, and what was sent by them
    vault         S3Vault: backups below a prefix of any bucket
    source        S3Source: somebody's pictures below a prefix of any bucket, read by a command
    foreign       S3ForeignBuckets: objects of listed buckets, read by a server for delivery
    governance    what else a bucket should be, set and verified item by item

obstore carries the bytes because its client CPU per request is a fifth of botocore's; aiobotocore does what obstore cannot:
versions, delete markers, copies, conditional multipart and the configuration of buckets. Wiring builds S3Store.
"""

from safelight.adapters.storage.s3.bucket import S3Storage
from safelight.adapters.storage.s3.foreign import S3ForeignBuckets
from safelight.adapters.storage.s3.incoming import S3Incoming
from safelight.adapters.storage.s3.options import S3Options
from safelight.adapters.storage.s3.store import S3Store
from safelight.adapters.storage.s3.vault import S3Vault

__all__ = ["S3ForeignBuckets", "S3Incoming", "S3Options", "S3Storage", "S3Store", "S3Vault"]
