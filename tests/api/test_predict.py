from gallery import *
def test_x(gallery):
    for n, v in gallery.versions.items():
        print(n, v.signature.container, v.signature.array_dtype)
        for c in v.signature.columns: print("   ", c)
        print("   ", {k:(o.kind,o.shape,str(o.classes)[:60],o.per_target,o.columns) for k,o in v.signature.outputs.items()})
    r = gallery.predict([GENTOO]); print(r.status_code, r.text)
    r = gallery.predict([KINDS], "kinds"); print(r.status_code, r.text)
    r = gallery.predict([GENTOO|{"island":5, "year":MARKER}]); print(r.status_code, r.text)
    r = gallery.api.client.get("/models"); print(r.status_code, r.text[:500])
    r = gallery.api.client.get("/openapi.json"); print(r.status_code, r.text[:1500])
    r = gallery.api.client.get("/readyz"); print(r.status_code, r.text[:1500])
    r = send(gallery.api, b"x"*3000000, verison="1"); print(r.status_code, r.headers, r.text[:1500])
