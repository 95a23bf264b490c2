# Fastly: Accept collapsed to what Safelight tells apart, before the cache follows `Vary: Accept`.
sub vcl_recv {
#FASTLY recv
  declare local var.avif BOOL;
  declare local var.webp BOOL;
  set var.avif = req.http.Accept ~ "(?i)(^|,)\s*image/avif\s*(;(?!\s*q=0(\.0{0,3})?\s*(;|,|$))|,|$)";
  set var.webp = req.http.Accept ~ "(?i)(^|,)\s*image/webp\s*(;(?!\s*q=0(\.0{0,3})?\s*(;|,|$))|,|$)";
  if (var.avif && var.webp) {
    set req.http.Accept = "image/avif,image/webp";
  } else if (var.avif) {
    set req.http.Accept = "image/avif";
  } else if (var.webp) {
    set req.http.Accept = "image/webp";
  } else {
    set req.http.Accept = "*/*";
  }
  return(lookup);
}
