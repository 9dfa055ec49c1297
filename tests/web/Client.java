import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;

/** Posts the file args[1] to the URL args[0] as Java's HttpClient does by default; prints what came back. */
public class Client {
    public static void main(String[] args) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(args[0]))
            .POST(HttpRequest.BodyPublishers.ofFile(Path.of(args[1])))
            .build();
        HttpResponse<Path> response = HttpClient.newHttpClient()
            .send(request, HttpResponse.BodyHandlers.ofFile(Path.of(args[2])));
        System.out.println(response.statusCode());
        System.out.println(response.headers().firstValue("Content-Type").orElse(""));
        System.out.println(response.headers().firstValue("LaSSIM-Verdict").orElse(""));
    }
}
